# What the scenarios are written with. Sourced by scenario, in the machine.
#
# Nothing waits for a time: what is waited for is a condition, with a limit. The limits are generous,
# because an emulated machine is slow, and multiplied by $patience, because some are slower.

kept=/e2e/kept
mkdir -p $kept

# -- saying what is seen ---------------------------------------------------------------------------

say() {
    printf '[%s] %s\n' "$(date +%T)" "$*"
}

fail() {
    say "$*" >&2
    failure=$*
    exit 1
}

# expect WHAT EXPECTED SEEN
expect() {
    [ "$3" = "$2" ] || fail "$1: expected \"$2\", saw \"$3\""
    say "$1: $3"
}

# within LIMIT WHAT COMMAND...: polls until COMMAND succeeds.
within() {
    local limit=$(($1 * patience)) what=$2 began=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - began)) -lt $limit ] || fail "$what: not within $limit s ($*)"
        sleep 0.2
    done
    say "$what: after $((SECONDS - began)) s"
}

# keep NAME COMMAND...: runs it, shows what it says, and keeps that for whoever reads about the run.
keep() {
    local file=$kept/$name.$1.txt
    shift
    { echo "$ $*"; "$@" 2>&1; } >"$file" || say "\"$*\" ends with status $?"
    cat "$file"
}

# What somebody who has to find out why would ask for first.
look_around() {
    echo "--- what the machine looks like after a failure"
    timeout 20 ttyplugd status
    timeout 60 ttyplugd check
    timeout 20 docker ps --all
    for container in $(timeout 20 docker ps --all --quiet); do
        echo "--- docker logs $container"
        timeout 20 docker logs --tail 20 "$container"
    done
    ls -l /dev/serial/* /dev/ttyACM*
    echo "--- journal since the scenario began"
    journalctl --no-pager -o short-precise --since "@$began" | tail -n 150
    echo "FAILED: ${failure:-a command failed}"
} 2>&1

# -- sticks ----------------------------------------------------------------------------------------

# plug N VENDOR PRODUCT SERIAL, unplug N, peer N: see gadget.
plug() {
    /e2e/gadget plug "$@"
}

unplug() {
    /e2e/gadget unplug "$1"
}

peer() {
    /e2e/gadget peer "$1"
}

# zwave: the stick of most scenarios, in the words of plug.
zwave=(0658 0200 ZWAVE1)

# tty_of N: the name of the tty that stick N is now.
tty_of() {
    local tty
    for tty in /sys/bus/platform/devices/dummy_hcd."$1"/usb*/*/*/tty/ttyACM*; do
        [ -e "$tty" ] && basename "$tty"
    done
}

# listen N: keeps in /run/e2e/peer.N all that comes out of stick N at its other end.
listen() {
    local tty
    tty=$(peer "$1")
    mkdir -p /run/e2e
    : >"/run/e2e/peer.$1"
    # Without raw, this end would send back what it gets.
    stty -F "$tty" raw -echo
    cat "$tty" >>"/run/e2e/peer.$1" &
}

heard() {
    grep -qs -- "$2" "/run/e2e/peer.$1"
}

# -- containers ------------------------------------------------------------------------------------

# The device right for sticks that are not plugged in yet, and the port of most scenarios.
right=(--device-cgroup-rule 'c 166:* rmw')
as_zwave=(--label ttyplugd.port.zwave.match=vendor=0658,product=0200 --label ttyplugd.port.zwave.node=/dev/zwave)

# start NAME [OPTION...] -- COMMAND...: a container of the image e2e/busybox with opens held.
start() {
    local container=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    timeout $((120 * patience)) docker run --detach --name "$container" --network none --runtime ttyplug \
        "${right[@]}" "${options[@]}" "${image:-e2e/busybox}" "$@" >/dev/null ||
        fail "docker run of $container fails"
}

# An application that opens its port once, says something, and prints what it hears. microcom opens
# as all serial libraries do.
uses_port() {
    echo "(echo said-by-$1; exec sleep 1000000) | microcom -t 2000000000 $2; echo open-or-read-failed"
}

# start_user NAME NODE [OPTION...]: a container with such an application.
start_user() {
    local container=$1 node=$2
    shift 2
    start "$container" "$@" -- sh -c "$(uses_port "$container" "$node")"
}

root_of() {
    echo "/proc/$(docker inspect --format '{{.State.Pid}}' "$1")/root"
}

running() {
    [ "$(docker inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]
}

logged() {
    docker logs "$1" 2>&1 | grep -q -- "$2"
}

# -- ttyplugd --------------------------------------------------------------------------------------

answers() {
    timeout 20 ttyplugd status >/dev/null 2>&1
}

# holds CONTAINER: an open of it waits.
holds() {
    timeout 20 ttyplugd status 2>/dev/null | grep -qE "/dev/.*\b$1\b.*(waited|held|s )"
}

# has NODE DEVICE: a node below some root is the device of this host tty.
is_node() {
    [ "$(stat -c %t:%T "$1" 2>/dev/null)" = "$(stat -c %t:%T "/dev/$2" 2>/dev/null)" ]
}

absent() {
    [ ! -e "$1" ]
}

# journal PATTERN...: the journal since the scenario began has entries that match (journalctl(1)).
journal() {
    [ -n "$(journalctl --quiet --no-pager --since "@$began" "$@" | head -n 1)" ]
}

# -- the beginning of every scenario ---------------------------------------------------------------

begin_afresh() {
    local n
    docker ps --all --quiet | xargs -r timeout 120 docker rm --force >/dev/null
    for n in 0 1 2 3; do unplug $n; done
    rm -f /etc/e2e/at-boot
    began=$(date +%s)
}

reboot() {
    say "reboots"
    exit 64
}
