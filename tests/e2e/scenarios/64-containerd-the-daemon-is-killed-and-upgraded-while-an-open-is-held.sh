# Nobody but the wrapper and the keeper knows of the container, and the daemon is killed, is replaced by a
# newer package and is killed together with the keeper: the open is held on, and the port comes.

is_another_daemon() {
    local now
    now=$(systemctl show --property MainPID --value ttyplugd)
    [ "$now" != 0 ] && [ "$now" != "$before" ]
}

hold_an_open
before=$(systemctl show --property MainPID --value ttyplugd)
kill -9 "$before"
within 60 "systemd has started another" is_another_daemon
it_is_still_held

say "a newer package"
before=$(systemctl show --property MainPID --value ttyplugd)
install_newer
within 60 "the upgrade has restarted the daemon" is_another_daemon
it_is_still_held

say "the daemon and the keeper are killed"
before=$(systemctl show --property MainPID --value ttyplugd)
kill -9 "$(keepers)" "$before"
within 60 "systemd has started another" is_another_daemon
it_is_still_held
it_goes_on
within 60 "status says ready" is_ready app

say "the daemon is stopped while the stick is unplugged and the container ends"
systemctl stop ttyplugd
unplug 0
remove app
systemctl start ttyplugd
within 60 "the daemon answers" answers
expect "ports in status" "" "$(state app)"
