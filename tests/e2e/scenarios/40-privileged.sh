# A privileged container has every right and the nodes of what was plugged in when it was created; what
# is plugged in later it gets from us like any other, and loses it again.

start_user app /dev/zwave "${as_zwave[@]}" --privileged
within 60 "the open is held" holds app
listen 0
it_goes_on
within 60 "status says ready" is_ready app
root=$(root_of app)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
plug 0 "${zwave[@]}"
within 60 "the node is there again" is_node "$root/dev/zwave" ttyACM0
can_open app /dev/zwave || fail "it cannot open its port"

say "the engine's own node of a stick that was there already"
start all --label ttyplugd.enable=true --privileged -- sleep 1000000
root=$(root_of all)
within 60 "the port is ready" is_ready all
can_open all /dev/ttyACM0 || fail "it cannot open its port"
unplug 0
within 60 "the node is gone" absent "$root/dev/ttyACM0"
