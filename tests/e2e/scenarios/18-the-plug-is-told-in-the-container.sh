# An application that listens to udev in its container's network hears of its own port, under the name
# that it has there, and of no other: udevadm, and pyudev in the container itself, which sees the
# host's /run/udev, without which libudev listens to nothing.

with_applications
start app "${as_zwave[@]}" --volume /run/udev:/run/udev:ro -- python3 listen.py
within 120 "pyudev listens" logged app listening
heard=$kept/$name.monitor.txt
nsenter --target "$(docker inspect --format '{{.State.Pid}}' app)" --net \
    timeout $((300 * patience)) stdbuf --output=L udevadm monitor --udev --property --subsystem-match=tty >"$heard" &
listening=$!
within 30 "udevadm listens" grep -q UDEV "$heard"

# told ACTION TTY: by its DEVPATH. Under which name is what pyudev says: libudev of systemd 262 puts the
# kernel's DEVNAME in place of the message's (src/libsystemd/sd-device/sd-device.c, sd_device_get_subsystem,
# which device_verify calls, reads the uevent file in sysfs).
told() {
    awk -v action="ACTION=$1" -v end="/tty/$2" '
        /^$/ { if (a && d) found = 1; a = d = 0 }
        $0 == action { a = 1 }
        /^DEVPATH=/ && substr($0, length($0) - length(end) + 1) == end { d = 1 }
        END { exit !(found || a && d) }' "$heard"
}

plug 1 1a86 7523 OTHER
within 60 "another stick is there" is_another_tty 1 none
plug 0 "${zwave[@]}"
within 60 "the stick is there" is_another_tty 0 none
tty=$(tty_of 0)
within 60 "the plug is told" told add "$tty"
[ -c "$(root_of app)/dev/zwave" ] || fail "it was told before the node was there"
within 60 "pyudev hears it" logged app "^add /dev/zwave$"
unplug 0
within 60 "the unplug is told" told remove "$tty"
within 60 "pyudev hears it" logged app "^remove /dev/zwave$"
! grep -q OTHER "$heard" || fail "somebody else's device was told of"
keep pyudev docker logs app
expect "what pyudev has heard" "listening add /dev/zwave remove /dev/zwave" "$(docker logs app 2>/dev/null | xargs)"
kill $listening
