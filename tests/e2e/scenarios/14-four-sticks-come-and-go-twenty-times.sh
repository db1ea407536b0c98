# Four sticks at once, each in and out twenty times, with no pause for anything to settle. Afterwards
# every container has what is plugged in, and nothing else.

rounds=20
for n in 0 1 2 3; do
    start "app$n" --label "ttyplugd.port.p$n.match=serial=ROUND$n" \
        --label "ttyplugd.port.p$n.node=/dev/port$n" -- sleep 1000000
done
start all --label ttyplugd.enable=true -- sleep 1000000

come_and_go() {
    local round tty
    for round in $(seq $rounds); do
        plug "$1" 10c4 ea60 "ROUND$1" || return 1
        # As long as the kernel takes, and not longer: udev and the daemon are to be overtaken.
        for _ in $(seq 1000); do
            tty=$(tty_of "$1")
            [ -z "$tty" ] || break
            sleep 0.01
        done
        [ -n "$tty" ] || return 1
        [ "$round" = $rounds ] || unplug "$1" || return 1
    done
}
sticks=()
for n in 0 1 2 3; do
    come_and_go $n &
    sticks+=("$!")
done
for stick in "${sticks[@]}"; do wait "$stick" || fail "a stick could not be plugged in $rounds times"; done
say "4 sticks were plugged in $rounds times each"

for n in 0 1 2 3; do
    root=$(root_of app$n)
    within 120 "app$n has its stick, $(tty_of $n)" is_node "$root/dev/port$n" "$(tty_of $n)"
    expect "character devices of app$n that are ports" "port$n" "$(ports_below "$root")"
done
root=$(root_of all)
plugged=$(for n in 0 1 2 3; do tty_of $n; done | sort)
has_all() {
    [ "$(ports_below "$root")" = "$plugged" ]
}
within 120 "the container with all ports has exactly $(xargs <<<"$plugged")" has_all
for n in 0 1 2 3; do unplug $n; done
has_none() {
    [ -z "$(ports_below "$root")" ]
}
within 120 "and nothing when all are gone" has_none
expect "links that are left there" "" "$(find "$root/dev/serial" -type l 2>/dev/null)"
