# The daemon is killed while an open is held: systemd starts it again, and the application notices
# nothing.

hold_an_open
before=$(systemctl show --property MainPID --value ttyplugd)
kill -9 "$before"
is_another() {
    local now
    now=$(systemctl show --property MainPID --value ttyplugd)
    [ "$now" != 0 ] && [ "$now" != "$before" ]
}
within 60 "systemd has started another" is_another
it_is_still_held
it_goes_on
