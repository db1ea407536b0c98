# A container of a systemd unit and one with "restart: always", and a reboot with their stick plugged in:
# their first instruction finds their port, however late the daemon is. Then the stick is away at the next
# boot, and the open of the container waits for it.

there='test -c /dev/zwave && echo there || echo missing; stty -F /dev/zwave >/dev/null && echo opened; exec sleep 1000000'

# lines_of CONTAINER: what it has said at all its starts.
lines_of() {
    logs_of "$1" | xargs
}

# comes_after UNIT: it was begun after the daemon had said that it is ready.
comes_after() {
    local ready begun
    ready=$(systemctl show --property ActiveEnterTimestampMonotonic --value ttyplugd)
    begun=$(systemctl show --property ExecMainStartTimestampMonotonic --value "$1")
    say "ttyplugd was ready at $ready us, and $1 was begun at $begun us"
    [ "$begun" -gt "$ready" ] || fail "$1 does not wait for ttyplugd"
}

case $stage in
1)
    plug 0 "${zwave[@]}"
    within 60 "the stick is there" is_another_tty 0 none
    unit app sh -c "$there"
    within 60 "it has its port at its first start" logged app opened
    # podman-restart.service starts it at boot.
    systemctl enable --quiet podman-restart
    start always --restart always "${as_zwave[@]}" -- sh -c "$there"
    within 60 "the other one too" logged always opened
    plug_at_boot 0 "${zwave[@]}"
    mkdir -p /etc/systemd/system/ttyplugd.service.d
    printf '%s\n' '[Service]' 'ExecStartPre=/bin/sleep 30' >/etc/systemd/system/ttyplugd.service.d/e2e-late.conf
    reboot
    ;;
2)
    rm /etc/systemd/system/ttyplugd.service.d/e2e-late.conf
    within 300 "the containers run again" both running app always
    within 120 "the program of one has opened the port" logged app opened
    expect "what its start has seen" "there opened" "$(lines_of app)"
    has_opened_twice() {
        [ "$(logs_of always | grep -c opened)" = 2 ]
    }
    within 120 "that of the other one too" has_opened_twice
    expect "what both starts of that have seen" "there opened there opened" "$(lines_of always)"
    for unit in e2e-app podman-restart; do comes_after $unit; done
    within 120 "the daemon says that the port is ready" both is_ready app always
    keep cgroup cat "/proc/$(pid_of app)/cgroup"
    remove always
    rm /etc/e2e/at-boot
    reboot
    ;;
3)
    within 300 "the container runs again" running app
    within 120 "its open is held" holds app
    plug 0 "${zwave[@]}"
    within 90 "it succeeds" logged app opened
    timeout 120 systemctl restart e2e-app
    within 120 "systemctl restart: the port is there" logged app there
    ;;
esac
