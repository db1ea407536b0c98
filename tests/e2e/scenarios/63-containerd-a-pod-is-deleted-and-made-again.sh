# A container that ends is started again in its pod, and a pod that is deleted is made again: each start has
# its open held and its port, and the daemon forgets what is gone. The sandbox itself has no keeper.

has_keepers() {
    [ "$(keepers | wc -l)" = "$1" ]
}
has_ended() {
    ! running app
}
is_another() {
    local now
    now=$(pid_of app)
    [ -n "$now" ] && [ "$now" != "$pid" ]
}
is_forgotten() {
    [ -z "$(state app)" ]
}

hold_an_open
expect "keepers of a pod with one container" 1 "$(keepers | wc -l)"

say "its first process is killed, and the kubelet's next attempt is another container in the same sandbox"
kill -9 "$pid"
within 60 "the container has ended" has_ended
start_user app /dev/zwave "${as_zwave[@]}"
within 60 "it runs anew" is_another
within 60 "its open is held" holds app
expect "ports in status" waiting "$(state app)"
within 60 "there is one keeper" has_keepers 1

say "the pod is deleted while its open is held, and made again"
since=$SECONDS
remove app
[ $((SECONDS - since)) -lt $((60 * patience)) ] || fail "removing the pod took $((SECONDS - since)) s"
within 60 "the daemon has forgotten it" is_forgotten
within 60 "no keeper is left" has_keepers 0
hold_an_open
it_goes_on
within 60 "status says ready" is_ready app
keep status ttyplugd status
remove app
within 60 "the daemon has forgotten it" is_forgotten
within 60 "no keeper is left" has_keepers 0
