# The keeper is killed while an open is held, and then both it and the daemon: another keeper goes on,
# and the application notices nothing. systemd keeps the descriptors for the next daemon.

is_another_keeper() {
    local now
    now=$(keepers) && [ "$now" != "$killed" ]
}

is_where_the_first_was() {
    [ "$(cat "/proc/$(keepers)/cgroup")" = "$group" ]
}

hold_an_open
group=$(cat "/proc/$(keepers)/cgroup")
killed=$(keepers)
kill -9 "$killed"
within 20 "another keeper has taken over" is_another_keeper
it_is_still_held
within 20 "it is where the first one was" is_where_the_first_was
docker exec app true || fail "the container cannot be entered"

killed=$(keepers)
daemon=$(systemctl show --property MainPID --value ttyplugd)
kill -9 "$killed" "$daemon"
within 60 "another keeper has taken over" is_another_keeper
it_is_still_held
within 20 "it is where the first one was" is_where_the_first_was

# What is stored goes with the container.
it_goes_on
docker rm --force app >/dev/null
nothing_is_stored() {
    [ "$(systemctl show --property NFileDescriptorStore --value ttyplugd)" = 0 ]
}
within 20 "no descriptor is stored any more" nothing_is_stored
