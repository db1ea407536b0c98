#!/bin/bash
# The main job, to look at: two containers get two ports while they run, use them and lose them.
#
#   tests/with-engine.sh tests/demo.sh [TTYPLUGD]
#
# Ends with 0 only if every step was really seen. TTYPLUGD is the program, target/release/ttyplugd
# unless another is named. What is started and made here, with-engine.sh ends and removes.
set -euo pipefail

dir=$(mktemp -d "${TTYPLUGD_TEST_DIR:?is not set: run this below tests/with-engine.sh}/demo.XXXXXX")
ttyplugd=$(realpath "${1:-$(dirname "$0")/../target/release/ttyplugd}")
log=$dir/ttyplugd.log

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' plain=''
fi

step=0
heading() {
    step=$((step + 1))
    printf '\n%s%d. %s%s\n' "$bold" $step "$*" "$plain"
}

# show COMMAND...: prints the command as one would type it, and runs it.
show() {
    local word line=
    for word; do
        if [[ $word =~ ^[A-Za-z0-9_=/.:,-]+$ ]]; then line+=" $word"; else line+=" '$word'"; fi
    done
    printf '   %s$%s%s\n' "$dim" "${line//$'\n'/$'\n'       }" "$plain"
    timeout 60 "$@" >"$dir/said" 2>&1 || fail "it ends with status $?: $(cat "$dir/said")"
    sed 's/^/     /' "$dir/said"
}

seen() {
    printf '   %sok%s  %s\n' "$green" "$plain" "$*"
}

fail() {
    printf '   %sFAILED%s  %s\n\n' "$red" "$plain" "$*"
    echo "The log of ttyplugd:"
    cat "$log" 2>/dev/null
    exit 1
}

# Microseconds. Some locales have a comma in it.
now() {
    echo "${EPOCHREALTIME/[.,]/}"
}

# seen_within SECONDS SINCE WHAT COMMAND...: polls until COMMAND succeeds, and prints how long after
# SINCE that was.
seen_within() {
    local limit=$1 since=$2 what=$3 end=$((SECONDS + $1))
    until "${@:4}"; do
        [ $SECONDS -lt $end ] || fail "$what: not within $limit s"
        sleep 0.002
    done
    seen "$what: $((($(now) - since) / 1000)) ms"
}

# The files of a container, as the host sees them.
root() {
    echo "/proc/$(timeout 60 docker inspect --format '{{.State.Pid}}' "$1")/root"
}

# A node never shows itself before its number, owner and mode are final, so to be there is enough.
all_there() {
    local path
    for path; do [ -c "$path" ] || return 1; done
}

all_gone() {
    local path
    for path; do [ ! -e "$path" ] || return 1; done
}

# check_node CONTAINER NODE MINOR: shows the node from inside, and checks what is shown.
check_node() {
    show docker exec "$1" ls -ln "$2"
    grep -qE "^crw-rw---- +[0-9]+ 0 +$group +4, +$3 .* $2\$" "$dir/said" ||
        fail "$2 in $1 is to be the device 4:$3 with mode 0660, of root and the group $group"
}

plug() {
    echo add >/sys/class/tty/tty"$1"/uevent
}

unplug() {
    echo remove >/sys/class/tty/tty"$1"/uevent
}

echo "$("$ttyplugd" --version), Docker $(timeout 60 docker version --format '{{.Server.Version}}')"
echo "tty62 and tty63 of this machine, which nobody uses, play the serial adapters: the kernel's"
echo "and udev's events are real, and so are the ports."

# Vendor and product of a Z-Wave stick and of a Zigbee stick.
describe() {
    printf '%s\n' ID_BUS=usb "ID_VENDOR_ID=$2" "ID_MODEL_ID=$3" "ID_SERIAL_SHORT=$4" \
        "TEST_BY_ID=usb-Demo_$4-if00" >"$TTYPLUGD_TEST_DIR/ports/tty$1"
}
describe 63 0658 0200 ZWAVE1
describe 62 10c4 ea60 ZIGBEE1

heading "The Z-Wave stick is plugged in before anything else runs"
plug 63
udevadm settle --timeout=10
group=$(stat --format %g /dev/tty63)
show ls -ln /dev/tty63

heading "Two containers start: one asks by label, one knows nothing"
rule=(--device-cgroup-rule 'c 4:* rmw')
run=(docker run --detach --network none "${rule[@]}")
show "${run[@]}" --name demo-labelled --label ttyplugd.enable=true ttyplugd-test/busybox
show "${run[@]}" --name demo-named ttyplugd-test/busybox
labelled=$(root demo-labelled)
named=$(root demo-named)
all_gone "$labelled/dev/tty63" "$named/dev/zwave" || fail "neither of them is to have a port yet"
seen "neither of them has a port yet"

heading "ttyplugd starts, with a file that gives the other container its ports by name"
cat >"$dir/config.toml" <<END
[[port]]
name = "zwave"
match = { vendor = "0658", product = "0200" }
containers = ["demo-named"]
node = "/dev/zwave"

[[port]]
name = "zigbee"
match = { vendor = "10c4", product = "ea60" }
containers = ["demo-named"]
node = "/dev/zigbee"
END
sed 's/^/     /' "$dir/config.toml"
printf '   %s$ ttyplugd run --config config.toml%s\n' "$dim" "$plain"
since=$(now)
"$ttyplugd" run --config "$dir/config.toml" --run-dir "$dir/run" --state-dir "$dir/state" \
    --log-format text </dev/null >"$log" 2>&1 &
daemon=$!
seen_within 20 "$since" "the stick that was there already is in both, after the daemon's start" \
    all_there "$labelled/dev/tty63" "$named/dev/zwave"
check_node demo-labelled /dev/tty63 63
check_node demo-named /dev/zwave 63

heading "The Zigbee stick is plugged in"
since=$(now)
plug 62
seen_within 20 "$since" "it is in both, after the event" \
    all_there "$labelled/dev/tty62" "$named/dev/zigbee"
check_node demo-labelled /dev/tty62 62
check_node demo-named /dev/zigbee 62

heading "The containers use their ports"
# The settings are lost when the last descriptor is closed, hence the one that holds the port open.
# A virtual console takes every setting of a serial port but its speed (kernel, tty_ioctl.c,
# tty_set_termios, drivers without a set_termios of their own).
round_trip='exec 3<>$1
settings() { stty -F $1 -a | grep -o "min = .*"; }
before=$(stty -F $1 -g); settings $1
stty -F $1 raw -echo min 5 time 3; settings $1
stty -F $1 $before; settings $1
[ $(stty -F $1 -g) = $before ] && echo restored'
expected='min = 1; time = 0;
min = 5; time = 3;
min = 1; time = 0;
restored'
for use in demo-named:/dev/zwave demo-labelled:/dev/serial/by-id/usb-Demo_ZIGBEE1-if00; do
    node=${use#*:}
    show docker exec "${use%%:*}" sh -c "$round_trip" sh "$node"
    [ "$(cat "$dir/said")" = "$expected" ] || fail "the answers are to be: $expected"
    seen "$node was set to raw mode with a timeout of its own, read back and restored"
done

heading "The Zigbee stick is unplugged"
since=$(now)
unplug 62
seen_within 20 "$since" "it is gone from both, after the event" \
    all_gone "$labelled/dev/tty62" "$named/dev/zigbee"
all_there "$labelled/dev/tty63" "$named/dev/zwave" || fail "the other stick is to stay"
seen "the other stick stays"

heading "So is the Z-Wave stick"
since=$(now)
unplug 63
seen_within 20 "$since" "it is gone from both, after the event" \
    all_gone "$labelled/dev/tty63" "$named/dev/zwave"
for container in demo-labelled demo-named; do
    show docker exec "$container" ls -C /dev
    ! grep -qwE 'tty6.|zwave|zigbee' "$dir/said" || fail "a node was left behind in $container"
done

heading "A container opens the Z-Wave stick too early, and its open is held"
# busybox's microcom opens as all serial libraries do, once, and ends with 1 if that fails.
cat >"$TTYPLUGD_TEST_DIR/daemon.json" <<END
{"runtimes": {"ttyplug": {"path": "$(dirname "$ttyplugd")/ttyplug-runtime", "runtimeArgs": ["--run-dir", "$dir/run"]}}}
END
kill -HUP "$(cat "$TTYPLUGD_TEST_DIR/dockerd.pid")"
registered() {
    timeout 60 docker info --format '{{json .Runtimes}}' | grep -q ttyplug
}
seen_within 20 "$(now)" "the engine has the runtime ttyplug" registered
show "${run[@]}" --name demo-early --runtime ttyplug \
    --label ttyplugd.port.early.match=vendor=0658 --label ttyplugd.port.early.node=/dev/early \
    ttyplugd-test/busybox sh -c 'microcom -t 200 /dev/early && echo opened at the first attempt'
held() {
    "$ttyplugd" status --run-dir "$dir/run" | grep -q '^/dev/early'
}
seen_within 20 "$(now)" "its open waits" held
show "$ttyplugd" status --run-dir "$dir/run"
since=$(now)
plug 63
let_go() {
    grep -q 'open released .*reason=Ready' "$dir/run/runtime.log" 2>/dev/null ||
        ! held
}
seen_within 20 "$since" "the open went on, after the event" let_go
timeout 60 docker wait demo-early >/dev/null
show docker logs demo-early
[ "$(cat "$dir/said")" = "opened at the first attempt" ] || fail "the first open is to succeed"
unplug 63

heading "ttyplugd stops"
kill "$daemon"
timeout 20 tail --pid="$daemon" --follow /dev/null || fail "it does not end at SIGTERM"
wait "$daemon" || fail "it ends with status $?"
seen "it ends with status 0"
