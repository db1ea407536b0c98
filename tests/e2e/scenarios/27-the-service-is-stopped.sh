# "systemctl stop ttyplugd" does no harm: what is open stays open, nodes stay, an open that is held is
# let go when its time is over, and containers start as ever.

plug 0 "${zwave[@]}"
listen 0
start_user app /dev/zwave "${as_zwave[@]}"
within 60 "an application uses its port" heard 0 said-by-app
start_user early /dev/meter --label ttyplugd.port.meter.match=serial=METER1 \
    --label ttyplugd.port.meter.node=/dev/meter --label ttyplugd.port.meter.hold=20s
within 60 "the open of another is held" holds early
root=$(root_of app)

systemctl stop ttyplugd
echo said-while-stopped >"$(peer 0)"
within 60 "the application still hears the stick" logged app said-while-stopped
is_node "$root/dev/zwave" "$(tty_of 0)" || fail "/dev/zwave is to stay in the container"
can_open app /dev/zwave || fail "the port can no longer be opened"
within 60 "the held open ended when its time was over" logged early "No such file"
start late -- sh -c 'echo runs; exec sleep 1000000'
within 60 "a container starts while the service is stopped" logged late runs

systemctl start ttyplugd
within 60 "the daemon answers" answers
within 60 "and has its port as before" is_ready app
expect "what the application has lost" "" "$(docker logs app 2>&1 | grep lost || true)"
