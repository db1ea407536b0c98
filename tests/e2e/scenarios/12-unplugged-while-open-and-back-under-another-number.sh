# A stick is unplugged while its port is open, and plugged in again before the application has closed
# it: the kernel gives the new tty another number, and the application finds it under the same name.

plug 0 "${zwave[@]}"
listen 0
start_reopening app "${as_zwave[@]}"
within 60 "the application uses its port" heard 0 said-by-app
before=$(tty_of 0)
pid=$(pid_of app)

# This keeps the old number in use.
exec 9<>"/dev/$before"
unplug 0
root=$(root_of app)
within 60 "the node is gone from the container" absent "$root/dev/zwave"
within 60 "the application has noticed" logged app lost
within 60 "its next open is held" holds app
: >/run/e2e/peer.0
plug 0 "${zwave[@]}"
within 60 "the stick is another tty" is_another_tty 0 "$before"
within 60 "the application uses its port again" heard 0 said-by-app
is_node "$root/dev/zwave" "$(tty_of 0)" || fail "/dev/zwave: expected $(tty_of 0), saw $(ls -l "$root/dev/zwave")"
say "$before is $(tty_of 0) now, and /dev/zwave is it"
expect "the first process of the container" "$pid" "$(pid_of app)"
exec 9<&-
