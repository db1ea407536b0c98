# With the systemd cgroup driver a daemon-reload has systemd write the device rights of all units
# anew, those of containers too: neither the hold nor the right may get lost.

plug 1 0658 0200 RIGHTS
start has --label ttyplugd.enable=true -- sleep 1000000
tty=$(tty_of 1)
within 60 "another container has a port" is_node "$(root_of has)/dev/$tty" "$tty"
can_open has "/dev/$tty" || fail "it cannot open its port to begin with"
start_user app /dev/meter --label ttyplugd.port.meter.match=serial=METER1 \
    --label ttyplugd.port.meter.node=/dev/meter --label ttyplugd.port.meter.hold=30m
within 60 "the open is held" holds app
listen 0
systemctl daemon-reload
can_open has "/dev/$tty" || fail "it can no longer open its port"
within 60 "the open is held still" holds app
plug 0 1a86 7523 METER1
within 90 "it succeeds" heard 0 said-by-app
