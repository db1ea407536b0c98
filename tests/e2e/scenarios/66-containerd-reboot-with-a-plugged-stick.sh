# The machine reboots with a stick plugged in. After it a kubelet has its pods run in new sandboxes, and the
# first instruction of the container finds its port; nothing is left of the container before.

looks='test -c /dev/zwave && stty -F /dev/zwave >/dev/null && echo there || echo missing; exec sleep 1000000'
case $stage in
1)
    plug 0 "${zwave[@]}"
    within 60 "the stick is there" test -c /dev/ttyACM0
    start app "${as_zwave[@]}" -- sh -c "$looks"
    within 60 "the port is there at the first start" logged app there
    plug_at_boot 0 "${zwave[@]}"
    reboot
    ;;
2)
    within 120 "containerd answers by CRI" cri version
    within 120 "the daemon answers" answers
    expect "ports in status" "" "$(state app)"
    start app "${as_zwave[@]}" -- sh -c "$looks"
    has_said_twice() {
        [ "$(logs_of app | wc -l)" = 2 ]
    }
    within 120 "its program has opened the port" has_said_twice
    expect "what each start saw" "there there" "$(logs_of app | xargs)"
    within 60 "status says ready" is_ready app
    keep status ttyplugd status
    ;;
esac
