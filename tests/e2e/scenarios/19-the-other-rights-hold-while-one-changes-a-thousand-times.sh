# The right to a port is given and taken back 1,000 times, while a container opens the devices that
# every container may open as fast as it can: not one of these opens is refused.

mkdir -p /etc/ttyplugd/conf.d
echo 'inject = "namespace"' >/etc/ttyplugd/conf.d/e2e.toml
systemctl reload ttyplugd
start app "${as_zwave[@]}" -- sh -c '
    i=0
    while [ ! -e /tmp/stop ]; do
        for device in null zero full random urandom; do
            : <>/dev/$device || echo "/dev/$device was refused at turn $i"
        done
        i=$((i + 1))
    done
    echo "$i turns"
    exec sleep 1000000'
plug 0 "${zwave[@]}"
within 60 "the port is ready" is_ready app
node=$(root_of app)/dev/zwave
uevent=/sys/class/tty/$(tty_of 0)/uevent

# How often the right was seen to have come or gone: it goes before the node, and comes before it. Not
# every change is logged.
changes=0

# soon COMMAND...: polls until it succeeds, as all of it has to within some minutes.
from=$SECONDS
soon() {
    until "$@"; do
        [ $((SECONDS - from)) -lt $((400 * patience)) ] ||
            fail "$changes changes, and no more in time"
        sleep 0.01
    done
}

# The kernel's own message, of a device that has not gone: what it says is what counts.
fifty_rounds() {
    for _ in {1..50}; do
        echo remove >"$uevent"
        soon absent "$node"
        echo add >"$uevent"
        soon test -c "$node"
        changes=$((changes + 2))
    done
    [ $changes -ge 1000 ]
}
soon fifty_rounds
say "given and taken back, $changes changes: after $((SECONDS - from)) s"
docker exec app touch /tmp/stop
within 60 "the container has counted its turns" logged app turns
keep opens docker logs app
! logged app refused || fail "an open was refused"
within 60 "the port is ready" is_ready app
can_open app /dev/zwave || fail "the port cannot be opened"

rm -r /etc/ttyplugd/conf.d
systemctl reload ttyplugd
