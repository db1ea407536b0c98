# No capability, a read-only root, a user of its own, a frozen container, an image without a shell:
# nodes come from outside. And with users remapped, where a node on the container's own /dev could not
# be opened.

start app "${as_zwave[@]}" --cap-drop ALL --read-only --user 1000 --group-add "$(stat -c %g /dev/ttyS0)" \
    --security-opt no-new-privileges -- sleep 1000000
plug 0 "${zwave[@]}"
within 60 "a container without capabilities has its port" is_ready app
within 30 "its application opens it" docker exec app stty -F /dev/zwave
docker pause app >/dev/null
unplug 0
within 60 "a paused one loses it" absent "$(root_of app)/dev/zwave"
plug 0 "${zwave[@]}"
within 60 "and gets it" is_node "$(root_of app)/dev/zwave" ttyACM0
docker unpause app >/dev/null
within 30 "its application opens it" docker exec app stty -F /dev/zwave
docker rm --force app >/dev/null
unplug 0

say "an image of two programs"
bare=$(mktemp -d)
# busybox does what its name says.
for program in sleep stty; do cp /bin/busybox "$bare/$program"; done
tar -C "$bare" -c . | timeout 120 docker import - e2e/bare >/dev/null
rm -r "$bare"
image=e2e/bare start app "${as_zwave[@]}" -- /sleep 1000000
plug 0 "${zwave[@]}"
within 60 "the container has its port" is_ready app
within 30 "its application opens it" docker exec app /stty -F /dev/zwave
root=$(root_of app)
unplug 0
within 60 "and loses it" absent "$root/dev/zwave"
docker rm --force app >/dev/null

say "with users remapped"
cp /etc/docker/daemon.json /run/daemon.json.before
timeout 60 docker save --output /run/busybox.tar e2e/busybox
id dockremap >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin dockremap
grep -q dockremap /etc/subuid || echo dockremap:500000:65536 | tee -a /etc/subuid >>/etc/subgid
jq '."userns-remap" = "dockremap"' /run/daemon.json.before >/etc/docker/daemon.json
systemctl restart docker
timeout 60 docker load --quiet --input /run/busybox.tar
timeout 120 docker run --detach --name app --network none "${as_zwave[@]}" e2e/busybox sleep 1000000 >/dev/null
within 60 "the daemon has seen the engine" test -n "$(state app)"
plug 0 "${zwave[@]}"
within 60 "the container has its port" is_ready app
expect "what is in the way" null "$(ask '.ports[0].cause')"
within 30 "its root opens it" docker exec app stty -F /dev/zwave
expect "owner in the container" 0 "$(docker exec app stat -c %u /dev/zwave)"
root=$(root_of app)
unplug 0
within 60 "and loses it" absent "$root/dev/zwave"
docker rm --force app >/dev/null
cp /run/daemon.json.before /etc/docker/daemon.json
systemctl restart docker
