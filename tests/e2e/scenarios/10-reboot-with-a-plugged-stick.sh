# The machine reboots with a stick plugged in and a container with "restart: always" whose first
# instruction looks for its port, and whose second one opens it. While Docker starts it answers no
# call until all such containers have been started, so nothing can be asked of it then.

case $stage in
1)
    plug 0 "${zwave[@]}"
    within 60 "the stick is there" test -c /dev/ttyACM0
    # The shell is the first program of the container, and this its first instruction.
    start app --restart always "${as_zwave[@]}" -- \
        sh -c 'test -c /dev/zwave && stty -F /dev/zwave >/dev/null && echo there || echo missing; exec sleep 1000000'
    within 60 "the port is there at the first start" logged app there
    plug_at_boot 0 "${zwave[@]}"
    reboot
    ;;
2)
    within 300 "the container runs again" running app
    # Its open waits until the daemon has seen that the port is ready.
    has_said_twice() {
        [ "$(docker logs app | wc -l)" = 2 ]
    }
    within 120 "its program has opened the port" has_said_twice
    keep logs docker logs --timestamps app
    expect "what each start saw" "there there" "$(docker logs app | xargs)"
    within 120 "the daemon answers" answers
    within 120 "the daemon says that the port is ready" is_ready app
    keep status ttyplugd status
    ;;
esac
