# Of a pod with two containers an annotation can name one; the configuration names containers by
# NAMESPACE/POD/CONTAINER.

mkdir -p /etc/ttyplugd/conf.d
cat >/etc/ttyplugd/conf.d/e2e.toml <<'END'
[[port]]
name = "meter"
match = { serial = "METER1" }
containers = ["home/app-*/meter"]
node = "/dev/meter"
END
systemctl reload ttyplugd

named=(--annotation ttyplugd.zwave.port.zwave.match=vendor=0658,product=0200
    --annotation ttyplugd.zwave.port.zwave.node=/dev/zwave)
start app/zwave "${named[@]}" -- sleep 1000000
start app/other "${named[@]}" -- sleep 1000000
start app-7d4b-x2x9f/meter -- sleep 1000000
plug 0 "${zwave[@]}"
plug 1 1a86 7523 METER1
within 60 "the named container has its port" is_ready app/zwave
within 60 "the container of the configuration has its port" is_ready app-7d4b-x2x9f/meter
can_open app/zwave /dev/zwave || fail "the port cannot be opened"
can_open app-7d4b-x2x9f/meter /dev/meter || fail "the port cannot be opened"
expect "ports of the other container" "" "$(state app/other)"
absent "$(root_of app/other)/dev/zwave" || fail "the other container has the node"
own=c:$(stat -c '%Hr:%Lr' "/dev/$(tty_of 0)")
is_revoked app/other || fail "the other container may open the port"
keep status ttyplugd status
