# Without live-restore the engine stops its containers and starts them again: the held open is let go,
# so that the application can end, and its open in the new start is held anew.

hold_an_open --restart always
since=$SECONDS
systemctl restart docker
say "systemctl restart docker took $((SECONDS - since)) s"
runs_anew() {
    local now
    now=$(docker inspect --format '{{.State.Running}} {{.State.Pid}}' app 2>/dev/null) &&
        [ "${now% *}" = true ] && [ "${now#* }" != "$pid" ]
}
within 120 "the container has been started anew" runs_anew
within 120 "its open is held again" holds app
it_goes_on
