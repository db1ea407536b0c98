# The application of a pod opens its port before the stick is plugged in. Its one open is held, and succeeds
# when the stick comes; then bytes go both ways, and the unplug takes node and right.

start_user app /dev/zwave "${as_zwave[@]}"
within 60 "the open is held" holds app
expect "its engine" containerd/k8s.io "$(ask '.held[].engine')"
keep status ttyplugd status
keep status-json ttyplugd status --json
listen 0
it_goes_on
within 60 "status says ready" is_ready app
expect "the engine of the port" containerd/k8s.io "$(ask '.ports[].engine')"
keep ready ttyplugd status
ttyplugd check || fail "check finds errors"
expect "opens that failed" "" "$(logs_of app | grep failed || true)"

root=$(root_of app)
expect "owner, group and mode" "0:$(stat -c %g /dev/ttyACM0) 660" "$(stat -c '%u:%g %a' "$root/dev/zwave")"
link=$(cd /dev/serial/by-id && echo *ZWAVE1*)
expect "its name in by-id leads to" /dev/zwave "$(enter app readlink -f "/dev/serial/by-id/$link")"
can_open app /dev/zwave || fail "the port cannot be opened"
own=c:$(stat -c '%Hr:%Lr' "/dev/$(tty_of 0)")
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
within 60 "its number cannot be opened any more" is_revoked app
remove app
