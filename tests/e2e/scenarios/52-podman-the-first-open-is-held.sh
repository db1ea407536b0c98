# A container that nobody has heard of opens its port at once, and the stick comes later: its one open is
# held. Then the stick goes, and comes back under another number.

hold_an_open
keep status ttyplugd status
it_goes_on
root=$(root_of app)
expect "owner, group and mode" "0:$(stat -c %g "/dev/$(tty_of 0)") 660" "$(stat -c '%u:%g %a' "$root/dev/zwave")"
keep check ttyplugd check || fail "check finds an error"
grep -q 'app: its early opens are held' $kept/$name.check.txt || fail "check is to say that opens are held"

say "unplugged, and back under another number"
before=$(tty_of 0)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
plug 1 1234 5678 OTHER
plug 0 "${zwave[@]}"
within 60 "the stick has another number" is_another_tty 0 "$before"
within 60 "the node is there again" is_node "$root/dev/zwave" "$(tty_of 0)"
can_open app /dev/zwave || fail "it cannot open its port"

say "by the file, for a container that runs already and has no label"
mkdir -p /etc/ttyplugd/conf.d
cat >/etc/ttyplugd/conf.d/e2e.toml <<'END'
[[port]]
name = "meter"
match = { serial = "OTHER" }
containers = ["plain"]
node = "/dev/meter"
END
systemctl reload ttyplugd
podman run --detach --name plain --network none "$image" sleep 1000000 >/dev/null
within 60 "it has its port" is_node "$(root_of plain)/dev/meter" "$(tty_of 1)"
can_open plain /dev/meter || fail "it cannot open its port"
expect "Podman gives it no MKNOD" 0 "$((0x$(sed -n 's/^CapBnd:\s*//p' "/proc/$(pid_of plain)/status") >> 27 & 1))"
if journal -t ttyplugd --grep 'docker exec'; then fail "no command is to be tried in it"; fi
