# The Podman of a user. Its containers start with our runtime, and "check" says why they get no port. They
# have one where root names that Podman, without held opens.

user=zoe
useradd --create-home $user
loginctl enable-linger $user
home=/run/user/$(id -u $user)
within 60 "the user has a service manager" test -S "$home/bus"

# The functions of this scenario are about the user's containers.
podman() {
    (cd / && runuser -u $user -- env XDG_RUNTIME_DIR="$home" DBUS_SESSION_BUS_ADDRESS="unix:path=$home/bus" podman "$@")
}

root=$(mktemp -d)
busybox_root "$root"
tar -C "$root" -c . | podman import --change 'ENV PATH=/bin' - e2e/busybox >/dev/null
podman run --detach --name app --network none --runtime ttyplug "${as_zwave[@]}" "$image" \
    sh -c 'stty -F /dev/zwave; exec sleep 1000000' >/dev/null
within 60 "its open fails at once" logged app "can't open"
keep check ttyplugd check || fail "check finds an error"
grep -q "rootless engine of user $(id -u $user) get no ports" $kept/$name.check.txt ||
    fail "check is to say why it gets no port"

say "where root names the user's Podman"
runuser -u $user -- env XDG_RUNTIME_DIR="$home" systemctl --user --quiet start podman.socket
mkdir -p /etc/systemd/system/ttyplugd.service.d /etc/ttyplugd/conf.d
printf '%s\n' '[Service]' ProtectHome=no >/etc/systemd/system/ttyplugd.service.d/e2e-home.conf
cp /etc/ttyplugd/config.toml /run/e2e.config.toml
sed -i "1i engines = [\"unix:///run/podman/podman.sock\", \"unix://$home/podman/podman.sock\"]" /etc/ttyplugd/config.toml
systemctl daemon-reload
systemctl restart ttyplugd
plug 0 "${zwave[@]}"
within 60 "the port is ready" is_ready app
can_open app /dev/zwave || fail "it cannot open its port"
keep named ttyplugd check || fail "check finds an error"
grep -q 'app: its early opens are not held: the runtime of a rootless engine' $kept/$name.named.txt ||
    fail "check is to say why no open is held"
before=$(tty_of 0)
node=$(root_of app)/dev/zwave
unplug 0
within 60 "the node is gone" absent "$node"
plug 1 1234 5678 OTHER
plug 0 "${zwave[@]}"
within 60 "the stick has another number" is_another_tty 0 "$before"
within 60 "the node is there again" is_ready app
can_open app /dev/zwave || fail "it cannot open its port"

remove app
loginctl disable-linger $user
rm /etc/systemd/system/ttyplugd.service.d/e2e-home.conf
cp /run/e2e.config.toml /etc/ttyplugd/config.toml
systemctl daemon-reload
systemctl restart ttyplugd
