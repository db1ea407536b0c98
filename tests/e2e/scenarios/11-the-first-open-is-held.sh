# An application opens its port before the stick is plugged in. Its one open is held, and succeeds
# when the stick comes; then bytes go both ways through the port.

start_user app /dev/zwave "${as_zwave[@]}"
within 60 "the open is held" holds app
keep status ttyplugd status
listen 0
plug 0 "${zwave[@]}"
within 60 "what the application says comes out of the stick" heard 0 said-by-app
echo said-by-the-stick >"$(peer 0)"
within 60 "the application hears the stick" logged app said-by-the-stick
expect "opens that failed" "" "$(docker logs app 2>&1 | grep failed || true)"

root=$(root_of app)
expect "owner, group and mode" "0:$(stat -c %g /dev/ttyACM0) 660" "$(stat -c '%u:%g %a' "$root/dev/zwave")"
link=$(cd /dev/serial/by-id && echo *ZWAVE1*)
expect "its name in by-id leads to" /dev/zwave "$(docker exec app readlink -f "/dev/serial/by-id/$link")"
