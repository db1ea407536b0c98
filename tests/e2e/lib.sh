# What the scenarios are written with. Sourced by scenario, in the machine, and after it the file of the
# machine's engine (engines/), which has
#
#   start NAME [OPTION...] -- COMMAND...    a container of the image e2e/busybox with opens held
#   remove NAME...                          ends it and removes it
#   running NAME                            it runs
#   pid_of NAME                             its first process
#   logs_of NAME                            what it has said
#   enter NAME COMMAND...                   runs COMMAND in it
#   name_of NAME                            what the daemon calls it
#   as_zwave                                the options of start for the port of most scenarios
#   definition, update NAME...              for rights_stay, where there are such options
#   engine_shows                            what somebody who has to find out why would ask the engine
#   engine_begins_afresh                    no container is left, nor what a scenario has set
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
    local limit=$(($1 * patience)) what=$2 from=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - from)) -lt $limit ] || fail "$what: not within $limit s ($*)"
        sleep 0.2
    done
    say "$what: after $((SECONDS - from)) s"
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
    engine_shows
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
        if [ -e "$tty" ]; then basename "$tty"; fi
    done
}

# is_another_tty N TTY: stick N is there, and is not this tty.
is_another_tty() {
    local now
    now=$(tty_of "$1")
    [ -n "$now" ] && [ "$now" != "$2" ]
}

# plug_at_boot N VENDOR PRODUCT SERIAL: it is there when the machine boots, as a stick in its socket
# is: before any service, and without a word to anybody.
plug_at_boot() {
    mkdir -p /etc/e2e
    echo "$@" >>/etc/e2e/at-boot
    cat >/etc/systemd/system/e2e-sticks.service <<END
[Unit]
DefaultDependencies=no
After=local-fs.target systemd-udevd.service
Before=basic.target
ConditionPathExists=/etc/e2e/at-boot
[Service]
Type=oneshot
ExecStart=/e2e/gadget at-boot
[Install]
WantedBy=basic.target
END
    systemctl --quiet enable e2e-sticks
}

listeners=()

# listen N: keeps in /run/e2e/peer.N all that comes out of stick N at its other end. What it said before may
# be lost, so an application that finds its port at once is started later.
listen() {
    local tty
    tty=$(peer "$1")
    mkdir -p /run/e2e
    : >"/run/e2e/peer.$1"
    # Without raw, this end would send back what it gets. An unplug hangs it up, and it is opened anew.
    setsid sh -c 'while stty -F $0 raw -echo; do cat $0; done' "$tty" >>"/run/e2e/peer.$1" 2>/dev/null &
    listeners+=("$!")
}

heard() {
    grep -qs -- "$2" "/run/e2e/peer.$1"
}

# -- containers ------------------------------------------------------------------------------------

# busybox_root DIRECTORY: the root of the image e2e/busybox: one busybox under all its names. Its dialout
# is 77, which is not the machine's.
busybox_root() {
    local applet
    mkdir -p "$1"/{bin,dev,etc,proc,sys,tmp}
    cp /bin/busybox "$1/bin/"
    for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"; done
    printf '%s\n' root:x:0:0:root:/:/bin/sh app:x:1000:1000:app:/:/bin/sh >"$1/etc/passwd"
    printf '%s\n' root:x:0: dialout:x:77: app:x:1000: >"$1/etc/group"
}

# A line of shell for an application that opens a port once, says something, prints what it hears,
# and lives on when it has lost the port. microcom opens as all serial libraries do.
uses_port='echo said-by-$0 | microcom -t 2000000000 $1; echo lost; exec sleep 1000000'

# start_user NAME NODE [OPTION...]: a container with such an application.
start_user() {
    local container=$1 node=$2
    shift 2
    start "$container" "$@" -- sh -c "$uses_port" "$container" "$node"
}

root_of() {
    echo "/proc/$(pid_of "$1")/root"
}

logged() {
    logs_of "$1" | grep -q -- "$2"
}

# can_open CONTAINER NODE: not by the command's first process, which leads a session and would get the
# port as its terminal, and hang it up for everybody at its end (tty_ioctl(4), TIOCSCTTY).
can_open() {
    enter "$1" sh -c 'stty -F "$0" && true' "$2" >/dev/null
}

# -- ttyplugd --------------------------------------------------------------------------------------

answers() {
    timeout 20 ttyplugd status >/dev/null 2>&1
}

# ask FILTER [ARGUMENT...]: jq's answer from what the daemon says of itself.
ask() {
    timeout 20 ttyplugd status --json 2>/dev/null | jq -r "${@:2}" "$1"
}

# holds CONTAINER: an open of it waits.
holds() {
    [ "$(ask '[.held[] | select(.container == $c)] | length > 0' --arg c "$(name_of "$1")")" = true ]
}

# state CONTAINER: of its port, or of its ports.
state() {
    ask '.ports[] | select(.container == $c) | .state' --arg c "$(name_of "$1")"
}

is_ready() {
    [ "$(state "$1" | sort -u)" = ready ]
}

# keepers: their processes.
keepers() {
    pgrep -f '^/proc/self/exe --run-dir [^ ]* keeper '
}

# install_newer: a package with the same programs and another version.
install_newer() {
    local newer work
    newer=$(dpkg-query --show --showformat '${Version}' ttyplugd)+e2e$RANDOM
    work=$(mktemp -d)
    dpkg-deb --raw-extract /e2e/ttyplugd_*.deb "$work/package"
    sed -i "s/^Version: .*/Version: $newer/" "$work/package/DEBIAN/control"
    dpkg-deb --build -Znone "$work/package" "$work/ttyplugd.deb" >/dev/null
    timeout 300 apt-get -q install -y --no-install-recommends "$work/ttyplugd.deb"
    rm -r "$work"
    expect "the installed version" "$newer" "$(dpkg-query --show --showformat '${Version}' ttyplugd)"
}

# ports_below ROOT: the names of the ports in a container's /dev, in their order.
ports_below() {
    find "$1/dev" -maxdepth 1 -type c \( -name 'ttyACM*' -o -name 'port*' \) -printf '%f\n' | sort
}

# both COMMAND A B
both() {
    "$1" "$2" && "$1" "$3"
}

# is_node PATH TTY: PATH, below some container's root, is the device of this tty of the host. Neither
# being there is not the same.
is_node() {
    [ -c "$1" ] && [ "$(stat -c %t:%T "$1" 2>/dev/null)" = "$(stat -c %t:%T "/dev/$2" 2>/dev/null)" ]
}

absent() {
    [ ! -e "$1" ]
}

# journal PATTERN...: the journal since the scenario began has entries that match (journalctl(1)).
journal() {
    [ -n "$(journalctl --quiet --no-pager --since "@$began" "$@" | head -n 1)" ]
}

# -- what a container may do with all sorts of devices ------------------------------------------------

# Some of what an engine or a definition grants, and some of what nobody does.
devices=(c:1:3 c:1:5 c:1:7 c:1:8 c:1:9 c:5:0 c:5:1 c:5:2 c:10:229 c:13:63 c:1:11 c:1:1 c:4:0 c:10:237
    c:166:31 c:188:0 b:7:0)

# rights CONTAINER: a line for each of them, and for its port, with what the device cgroup allows: m, its
# node may be made; r, w and rw, it may be opened so. A refusal is seen by EPERM, which comes before the
# driver's own word.
rights() {
    enter "$1" sh -c 'for device; do
        IFS=: && set -- $device && unset IFS
        rm -f /tmp/node
        may=
        mknod /tmp/node "$@" && may=m || continue
        for way in "r <" "w >" "rw <>"; do
            case $(eval ": 2>&1 ${way#* }/tmp/node") in *"not permitted"*) ;; *) may="$may ${way% *}" ;; esac
        done
        echo "$device $may"
    done' sh "${devices[@]}" "$own"
}

# they_are WHEN RIGHTS CONTAINER...
they_are() {
    local container
    for container in "${@:3}"; do
        [ "$(rights "$container")" = "$2" ] || fail "what $container may do $1:
$(diff <(echo "$2") <(rights "$container"))"
    done
    say "what ${*:3} may do $1 is what it should be"
}

is_revoked() {
    rights "$1" | grep -qx "$own m"
}

# they_stay WHEN RIGHTS CONTAINER...: also when systemd and the engine put their lists in force again.
they_stay() {
    they_are "$@"
    systemctl daemon-reload
    they_are "$1, after a daemon-reload" "${@:2}"
    update "${@:3}"
    they_are "$1, after an update" "${@:2}"
}

# rights_stay RUNTIME: what the definition of its containers grants stays as it is, bit for bit, whatever
# happens to their port.
rights_stay() {
    local runtime=$1 options own before granted with_port container
    options=("${as_zwave[@]}" "${definition[@]}" --runtime "$runtime" -- sleep 1000000)
    modprobe fuse
    plug 0 "${zwave[@]}"
    within 60 "the stick is there" is_another_tty 0 none
    own=c:$(stat -c '%Hr:%Lr' "/dev/$(tty_of 0)")
    unplug 0
    start early "${options[@]}"
    before=$(rights early)
    say "$(paste -s -d, <<<"$before")"
    for granted in "c:1:3 m r w rw" "c:10:229 m r w rw" "c:13:63 m r" "c:1:11 m w" "c:10:237 m" "$own m"; do
        grep -qx "$granted" <<<"$before" || fail "not as defined: expected \"$granted\""
    done
    with_port=$(sed "s/^$own .*/$own m r w rw/" <<<"$before")
    plug 0 "${zwave[@]}"
    within 60 "the port is ready" is_ready early
    they_are "while the port is plugged in" "$with_port" early
    # This one is created with its port.
    start late "${options[@]}"
    within 60 "the port is ready there too" is_ready late
    they_stay "while the port is plugged in" "$with_port" early late
    unplug 0
    for container in early late; do within 60 "$container has lost it" is_revoked $container; done
    they_stay "after the unplug" "$before" early late
    plug 0 "${zwave[@]}"
    for container in early late; do within 60 "$container has it again" is_ready $container; done
    they_stay "after a plug" "$with_port" early late
    remove early late
}

# -- an open that is held while something happens ----------------------------------------------------

# start_reopening NAME OPTION...: its program opens /dev/zwave again whenever it has lost it, as
# applications do.
start_reopening() {
    start "$@" -- sh -c '
        while true; do
            echo said-by-app | microcom -t 2000000000 /dev/zwave
            echo lost
        done'
}

# hold_an_open [OPTION...]: the container "app" opens its port, which is not plugged in.
hold_an_open() {
    start_user app /dev/zwave "${as_zwave[@]}" "$@"
    within 60 "the open is held" holds app
    pid=$(pid_of app)
    listen 0
}

# it_is_still_held: by the same process, which noticed nothing.
it_is_still_held() {
    within 120 "the daemon answers, and the open is held still" holds app
    expect "what the application has said" "" "$(logs_of app)"
    expect "its process" "$pid" "$(pid_of app)"
}

# it_goes_on: the stick is plugged in, the open succeeds, and bytes go both ways.
it_goes_on() {
    plug 0 "${zwave[@]}"
    within 90 "the open has succeeded: the stick hears the application" heard 0 said-by-app
    echo said-by-the-stick >"$(peer 0)"
    within 60 "and the application hears the stick" logged app said-by-the-stick
}

# -- the beginning of every scenario ---------------------------------------------------------------

begin_afresh() {
    local n
    engine_begins_afresh
    for n in 0 1 2 3; do unplug $n; done
    rm -f /etc/e2e/at-boot
    began=$(date +%s)
}

reboot() {
    say "reboots"
    exit 64
}
