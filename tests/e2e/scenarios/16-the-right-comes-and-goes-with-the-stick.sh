# A container whose definition gives it no right to any serial port may open its own, from plug to
# unplug, and no other one; what else it may open stays the same, whatever reads its units again.

# opens MAJOR:MINOR: a node of it can be made in the container and opened. That it is refused by the
# device cgroup is seen by EPERM, which comes before any driver's own word.
opens() {
    local said
    said=$(docker exec app sh -c 'rm -f /tmp/node && mknod /tmp/node c ${0%:*} ${0#*:} && : <>/tmp/node' "$1" 2>&1) ||
        [[ $said != *'not permitted'* ]]
}

refused() {
    ! opens "$1"
}

number_of() {
    printf '%d:%d' $(stat -c '0x%t 0x%T' "/dev/$1")
}

others_are_as_ever() {
    local device
    for device in 1:3 1:5 1:7 1:8 1:9 5:0 5:2; do
        opens "$device" || fail "c $device cannot be opened any more"
    done
    for device in "$other" 166:31 188:0 4:0 10:237; do
        refused "$device" || fail "c $device can be opened"
    done
}

plug 1 1a86 7523 OTHER
within 60 "another stick is there" is_another_tty 1 none
other=$(number_of "$(tty_of 1)")
start app "${as_zwave[@]}" -- sleep 1000000
others_are_as_ever
for round in 1 2 3; do
    plug 0 "${zwave[@]}"
    within 60 "the port is ready" is_ready app
    own=$(number_of "$(tty_of 0)")
    docker exec app stty -F /dev/zwave >/dev/null || fail "the port cannot be opened"
    others_are_as_ever
    [ $round != 2 ] || systemctl daemon-reload
    [ $round != 3 ] || docker update --cpu-shares 512 app >/dev/null
    docker exec app stty -F /dev/zwave >/dev/null || fail "the port cannot be opened any more"
    unplug 0
    within 60 "the node is gone" absent "$(root_of app)/dev/zwave"
    within 60 "its number cannot be opened any more" refused "$own"
    others_are_as_ever
done

say "the same after restarts of the container, of the daemon and of the engine"
plug 0 "${zwave[@]}"
docker restart --time 1 app >/dev/null
within 60 "the port can be opened" docker exec app stty -F /dev/zwave
systemctl kill --signal KILL ttyplugd
docker exec app stty -F /dev/zwave >/dev/null || fail "it ends with the daemon"
unplug 0
within 60 "the daemon is there again, and the node is gone" absent "$(root_of app)/dev/zwave"
within 60 "its number cannot be opened any more" refused "$own"
docker_setting '."live-restore" = true'
plug 0 "${zwave[@]}"
within 60 "the port can be opened" docker exec app stty -F /dev/zwave
systemctl restart docker
within 120 "the port can be opened" docker exec app stty -F /dev/zwave
unplug 0
within 60 "its number cannot be opened any more" refused "$own"
others_are_as_ever
journal -p warning -u ttyplugd --grep 'right' && fail "$(journalctl -u ttyplugd -p warning --since "@$began")"
say "no right was missed"
