# crun behind our runtime, and a container that has its open held and its port granted all the same. With
# it and with runc, what a container's definition lets it do with any other device is left alone.
# The engine keeps a file of this name for good (moby, daemon/runtime_unix.go), hence not one of ours.

docker_setting '.runtimes."crun-with-holds" = {"path": "/usr/bin/ttyplug-runtime", "runtimeArgs": ["--runtime", "crun"]}'
has_the_runtime() {
    docker info --format '{{json .Runtimes}}' | grep -q crun-with-holds
}
within 60 "the engine has the runtime crun-with-holds" has_the_runtime
keep version crun --version
# The last --runtime counts.
hold_an_open --runtime crun-with-holds
expect "the runtime" crun-with-holds "$(docker inspect --format '{{.HostConfig.Runtime}}' app)"
it_goes_on
can_open app /dev/zwave || fail "it cannot open its port"
own=$(stat -c 'c:%Hr:%Lr' "/dev/$(tty_of 0)")
root=$(root_of app)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
docker rm --force app >/dev/null

# What the definition grants beyond the engine's own list, and some of what nobody grants.
modprobe fuse
definition=(--device /dev/fuse --device-cgroup-rule 'c 13:* r' --device-cgroup-rule 'c 1:11 w')
devices=(c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:5:0 c:5:1 c:5:2 c:10:229 c:13:63 c:1:11 c:1:1 c:4:0 c:10:237
    c:166:31 c:188:0 b:7:0 "$own")

# rights CONTAINER: a line for each device, with what the device cgroup allows: m, its node may be made; r,
# w and rw, it may be opened so. A refusal is seen by EPERM, which comes before the driver's own word.
rights() {
    docker exec "$1" sh -c 'for device; do
        IFS=: && set -- $device && unset IFS
        rm -f /tmp/node
        may=
        mknod /tmp/node "$@" && may=m || continue
        for way in "r <" "w >" "rw <>"; do
            case $(eval ": 2>&1 ${way#* }/tmp/node") in *"not permitted"*) ;; *) may="$may ${way% *}" ;; esac
        done
        echo "$device $may"
    done' sh "${devices[@]}"
}

# with_port RIGHTS: these, and those of its port.
with_port() {
    sed "s/^$own .*/$own m r w rw/" <<<"$1"
}

# they_are WHEN CONTAINER RIGHTS
they_are() {
    [ "$(rights "$2")" = "$3" ] || fail "$2: what it may do $1:
$(diff <(echo "$3") <(rights "$2"))"
    say "$2: what it may do $1 is what it should be"
}

# they_stay WHEN CONTAINER RIGHTS: and systemd and the engine may put their lists in force again.
they_stay() {
    they_are "$1" "$2" "$3"
    systemctl daemon-reload
    they_are "$1, after a daemon-reload" "$2" "$3"
    [ -n "$can_update" ] || return 0
    docker update --cpu-shares $((RANDOM + 2)) "$2" >/dev/null
    they_are "$1, after docker update" "$2" "$3"
}

is_revoked() {
    rights "$1" | grep -qx "$own m"
}

for runtime in ttyplug crun-with-holds; do
    say "the rights of containers of the runtime $runtime"
    # Docker 20.10 gives crun a memory limit of 0 at an update, which ends the container.
    can_update=yes
    case $runtime/$(docker version --format '{{.Server.Version}}') in crun*/20.10.*) can_update= ;; esac
    # This one is created without its port, and the next one with it.
    start early "${as_zwave[@]}" "${definition[@]}" --runtime $runtime -- sleep 1000000
    within 60 "it runs" running early
    before=$(rights early)
    say "$(paste -s -d, <<<"$before")"
    for granted in "c:1:3 m r w rw" "c:10:229 m r w rw" "c:13:63 m r" "c:1:11 m w" "c:10:237 m" "$own m"; do
        grep -qx "$granted" <<<"$before" || fail "not as defined: expected \"$granted\""
    done
    for round in 1 2; do
        plug 0 "${zwave[@]}"
        within 60 "the port is ready" is_ready early
        they_stay "while it is plugged in" early "$(with_port "$before")"
        if [ $round = 1 ]; then
            start late "${as_zwave[@]}" "${definition[@]}" --runtime $runtime -- sleep 1000000
        fi
        within 60 "the port is ready in both" is_ready late
        they_stay "while it is plugged in" late "$(with_port "$before")"
        unplug 0
        for container in early late; do
            within 60 "$container has lost its port" is_revoked $container
            they_stay "after the unplug" $container "$before"
        done
    done
    docker rm --force early late >/dev/null
done
docker_setting 'del(.runtimes."crun-with-holds")'
