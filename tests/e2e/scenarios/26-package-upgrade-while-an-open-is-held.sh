# A newer package is installed while an open is held: the daemon is restarted, another keeper takes over,
# and the application notices nothing.

hold_an_open
before=$(systemctl show --property MainPID --value ttyplugd)
install_newer
it_is_still_held
has_new_keeper() {
    local program
    program=$(readlink "/proc/$(keepers)/exe")
    [ "$program" = /usr/bin/ttyplug-runtime ]
}
within 60 "the keeper is the new program" has_new_keeper
it_is_still_held
now=$(systemctl show --property MainPID --value ttyplugd)
[ "$now" != "$before" ] || fail "the daemon is to be restarted by the upgrade, and is process $now as before"
it_goes_on
