# The machine reboots with a stick plugged in, $reboots times, and a container with "restart: always" whose
# first instruction looks for its port, and whose second one opens it. While Docker starts it answers
# no call until all such containers have been started, so nothing can be asked of it then.

# has_said_at_each_start: its program was started as often as the machine, and has come to its end.
has_said_at_each_start() {
    [ "$(docker logs app | wc -l)" = "$stage" ]
}

# moment UNIT PROPERTY: milliseconds from the boot to it.
moment() {
    echo $(($(systemctl show --property "$2" --value "$1") / 1000))
}

if [ "$stage" = 1 ]; then
    plug 0 "${zwave[@]}"
    within 60 "the stick is there" test -c /dev/ttyACM0
    # The shell is the first program of the container, and this its first instruction.
    start app --restart always "${as_zwave[@]}" -- \
        sh -c 'test -c /dev/zwave && stty -F /dev/zwave >/dev/null && echo there || echo missing; exec sleep 1000000'
    within 60 "the port is there at the first start" logged app there
    plug_at_boot 0 "${zwave[@]}"
    reboot
fi
within 300 "the container runs again" running app
# Its open waits until the daemon has seen that the port is ready.
within 120 "its program has opened the port" has_said_at_each_start
keep logs docker logs --timestamps app
expect "starts that have not found the port" 0 "$(docker logs app | grep -vc there)"
within 120 "the daemon answers" answers
within 120 "the daemon says that the port is ready" is_ready app
say "udev's coldplug ended $(moment systemd-udev-trigger ExecMainExitTimestampMonotonic) ms after the boot," \
    "the daemon was started at $(moment ttyplugd ExecMainStartTimestampMonotonic) ms" \
    "and was ready at $(moment ttyplugd ActiveEnterTimestampMonotonic) ms"
keep status ttyplugd status
[ "$stage" -gt "$reboots" ] || reboot
