# A container whose definition gives it no right to any serial port may open its own, from plug to
# unplug, and no other one; what else it may open stays the same, whatever reads its units again.

# opened NUMBER...: those devices of which a node can be made in the container and opened. That one is
# refused by the device cgroup is seen by EPERM, which comes before any driver's own word. One command
# for all of them, since each takes the emulated machine a second or two.
opened() {
    docker exec app sh -c 'for number; do
        rm -f /tmp/node
        mknod /tmp/node c ${number%:*} ${number#*:} || exit
        case $(: 2>&1 <>/tmp/node) in *"not permitted"*) ;; *) echo $number ;; esac
    done' sh "$@" | xargs
}

# refused NUMBER: it is, and /dev/null is not.
refused() {
    [ "$(opened 1:3 "$1")" = 1:3 ]
}

number_of() {
    printf '%d:%d' $(stat -c '0x%t 0x%T' "/dev/$1")
}

# What every container may open, and some of what none may.
always=(1:3 1:5 1:7 1:8 1:9 5:0 5:2)

# it_may_open NUMBER...: these and what every container may, and nothing else.
it_may_open() {
    expect "what it may open" "$(xargs <<<"${always[*]} $*")" \
        "$(opened "${always[@]}" "$own" "$other" 166:31 188:0 4:0 10:237)"
}

plug 1 1a86 7523 OTHER
within 60 "another stick is there" is_another_tty 1 none
other=$(number_of "$(tty_of 1)")
own=166:30
start app "${as_zwave[@]}" -- sleep 1000000
it_may_open
for round in 1 2 3; do
    plug 0 "${zwave[@]}"
    within 60 "the port is ready" is_ready app
    own=$(number_of "$(tty_of 0)")
    can_open app /dev/zwave || fail "the port cannot be opened"
    it_may_open "$own"
    [ $round != 2 ] || systemctl daemon-reload
    [ $round != 3 ] || docker update --cpu-shares 512 app >/dev/null
    can_open app /dev/zwave || fail "the port cannot be opened any more"
    unplug 0
    within 60 "the node is gone" absent "$(root_of app)/dev/zwave"
    within 60 "its number cannot be opened any more" refused "$own"
    it_may_open
done

say "the same after restarts of the container, of the daemon and of the engine"
plug 0 "${zwave[@]}"
docker restart --time 1 app >/dev/null
within 60 "the port can be opened" can_open app /dev/zwave
own=$(number_of "$(tty_of 0)")
systemctl kill --signal KILL ttyplugd
can_open app /dev/zwave || fail "it ends with the daemon"
unplug 0
within 60 "the daemon is there again, and the node is gone" absent "$(root_of app)/dev/zwave"
within 60 "its number cannot be opened any more" refused "$own"
docker_setting '."live-restore" = true'
plug 0 "${zwave[@]}"
within 60 "the port can be opened" can_open app /dev/zwave
own=$(number_of "$(tty_of 0)")
systemctl restart docker
within 120 "the port can be opened" can_open app /dev/zwave
unplug 0
within 60 "the node is gone" absent "$(root_of app)/dev/zwave"
within 60 "its number cannot be opened any more" refused "$own"
it_may_open

# may CONTAINER NUMBER: for what a node of this number may be opened there.
may() {
    docker exec "$1" sh -c 'rm -f /tmp/node
        mknod /tmp/node c ${0%:*} ${0#*:} || exit
        for way in "r <" "w >" "rw <>"; do
            case $(eval ": 2>&1 ${way#* }/tmp/node") in *"not permitted"*) ;; *) echo ${way% *} ;; esac
        done' "$2" | xargs
}

say "what a definition gives stays, letter by letter"
declare -A defined=([r]=r [w]=w [rw]="r w rw")
for access in r w rw; do
    start "may-$access" "${as_zwave[@]}" --device-cgroup-rule "c 166:* $access" -- sleep 1000000
done
all_expected() {
    local access
    for access in r w rw; do
        expect "$access: its own" "${1:-${defined[$access]}}" "$(may may-$access "$own")"
        expect "$access: the other's" "${defined[$access]}" "$(may may-$access "$other")"
    done
}
all_expected
plug 0 "${zwave[@]}"
for access in r w rw; do within 60 "$access has its port" is_ready may-$access; done
own=$(number_of "$(tty_of 0)")
all_expected "r w rw"
unplug 0
for access in r w rw; do
    within 60 "$access has lost it" absent "$(root_of may-$access)/dev/zwave"
done
lost_what_was_given() {
    [ "$(may may-r "$own") $(may may-w "$own")" = "r w" ]
}
within 60 "and what it was given" lost_what_was_given
all_expected
journal -p warning -u ttyplugd --grep 'right' && fail "$(journalctl -u ttyplugd -p warning --since "@$began")"
say "no right was missed"
