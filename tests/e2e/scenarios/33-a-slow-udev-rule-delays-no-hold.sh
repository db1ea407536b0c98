# A rule of the operator's starts a program at an unplug, for which udevd waits before it tells anybody. The
# kernel's own message has opens held from the unplug on; nothing is removed before udevd's.

mkdir -p /run/udev/rules.d /run/e2e
rm -f /run/e2e/go-on
cat >/run/udev/rules.d/99-e2e.rules <<'END'
ACTION=="remove", SUBSYSTEM=="tty", RUN+="/bin/sh -c 'until [ -e /run/e2e/go-on ]; do sleep 0.1; done'"
END
udevadm control --reload
plug 0 "${zwave[@]}"
start_reopening app "${as_zwave[@]}"
listen 0
within 60 "the application uses its port" heard 0 said-by-app
root=$(root_of app)
unplug 0
within 30 "its next open is held" holds app
[ -c "$root/dev/zwave" ] || fail "the node is gone, and udevd has not said so"
: >/run/e2e/go-on
within 60 "the node is gone from the container" absent "$root/dev/zwave"
expect "what is held" true "$(holds app && echo true)"
rm /run/udev/rules.d/99-e2e.rules
udevadm control --reload
: >/run/e2e/peer.0
plug 0 "${zwave[@]}"
within 60 "the application uses its port again" heard 0 said-by-app
