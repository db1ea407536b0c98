# A pod without the RuntimeClass is not served, with whatever annotations, and neither is a sandbox. What
# the containers of the others have but for their port stays as it is, and one with the fewest rights that
# Kubernetes knows has its open held and its port all the same.

handler='' start plain "${as_zwave[@]}" -- sleep 1000000
start own "${as_zwave[@]}" -- sleep 1000000
group=$(stat -c %g /dev/ttyS0)
start restricted --restricted --group "$group" "${as_zwave[@]}" -- sh -c "$uses_port" restricted /dev/zwave
within 60 "the open is held" holds restricted
expect "containers that the daemon knows" "$(name_of own) $(name_of restricted)" \
    "$(ask '.ports[].container' | sort -u | xargs)"
listen 0
plug 0 "${zwave[@]}"
within 60 "the stick hears the application without rights" heard 0 said-by-restricted
own=c:$(stat -c '%Hr:%Lr' "/dev/$(tty_of 0)")
before=$(rights plain)
is_revoked plain || fail "a pod without the RuntimeClass may open the port: $before"
absent "$(root_of plain)/dev/zwave" || fail "a pod without the RuntimeClass has the node"
with_port=$(sed "s/^$own .*/$own m r w rw/" <<<"$before")
within 60 "the port of the other is ready" is_ready own
they_are "with its port" "$with_port" own
systemctl daemon-reload
they_are "after a daemon-reload" "$with_port" own
unplug 0
within 60 "it has lost it" is_revoked own
they_are "after the unplug" "$before" own
