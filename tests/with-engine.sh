#!/bin/bash
# Runs a command beside a Docker engine, a udevd and four test ttys of its own:
#
#   tests/with-engine.sh [--lanes N] COMMAND [ARGUMENT...]
#
# The command runs in a lane: namespaces of its own for processes, mounts and the network, with an
# engine and a udevd that nobody else hears of (tests/lane.sh). With --lanes it runs in N of them at
# the same time. It has no network, and finds in its environment
#   DOCKER_HOST         the private engine, with the images of tests/images.sh in it
#   TTYPLUGD_TEST_DIR   the lane's directory; ports/ttyNN in it holds the udev properties that ttyNN
#                       gets at its next "add" (KEY=value lines)
#   TTYPLUGD_TEST_TTYS  the first of the lane's four ttys: 60, 50 in the second lane, then 40, …
# and may use tests/engine.sh to stop and start the engine.
#
# An engine and a udevd in use are left alone. Whatever way the command ends, what was started here
# is killed and what was made here is removed.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

arguments=("$@")
lanes=1
if [ "${1:-}" = --lanes ]; then
    lanes=${2:?how many lanes?}
    shift 2
fi
if [ $# = 0 ]; then
    echo "with-engine: which command?" >&2
    exit 2
fi
if [ "$(id -u)" != 0 ]; then
    given=()
    for name in "${!TTYPLUGD_TEST_@}"; do given+=("$name=${!name}"); done
    # sudo has a PATH and a HOME of its own, and cargo is found by the user's.
    exec sudo env PATH="$PATH" CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" \
        RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" \
        "${given[@]}" "$0" "${arguments[@]}"
fi
for tool in dockerd containerd docker udevadm busybox flock setsid unshare pkill; do
    command -v $tool >/dev/null || {
        echo "with-engine: there is no $tool: run tests/prerequisites.sh test" >&2
        exit 1
    }
done
ttys=()
for ((lane = 1; lane <= lanes; lane++)); do
    for n in 0 1 2 3; do ttys+=("tty$((70 - 10 * lane + n))"); done
done
for tty in "${ttys[@]}"; do
    [ -w "/sys/class/tty/$tty/uevent" ] || {
        echo "with-engine: this kernel has no $tty to play a serial port (CONFIG_VT)" >&2
        exit 1
    }
done

# There is one tty63 on a machine, so two runs wait for each other.
exec 9</sys/class/tty
if ! flock --nonblock 9; then
    echo "with-engine: another run has the test ttys; waiting for it" >&2
    flock --timeout 3600 9
fi

dir=$(mktemp -d -t ttyplugd-test.XXXXXX)
running=()

# What lanes mount something over. A mount point can be removed where it is not one (umount(2)), and
# the machine's own udevd removes directories of links that are empty.
mount_points=(/etc/docker /etc/containers /var/lib/containers /dev/serial /dev/char)
kept=("${mount_points[@]/%//.${dir##*/}}")
# Of this, and of what engines and mount(8) make on file systems that lanes share, that is removed
# which did not exist before.
strays=()
for path in /run/mount /dev/mqueue "${mount_points[@]}"; do [ -e "$path" ] || strays+=("$path"); done
groups=()
for path in $(for parent in /sys/fs/cgroup/ /sys/fs/cgroup/*/; do echo "$parent"{docker,libpod_parent}; done); do
    [ -e "$path" ] || groups+=("$path")
done

clean_up() {
    set +e
    trap '' INT TERM HUP
    local lane signal id path tty
    "$here/thaw.sh" "$dir"/*/docker
    # The end of a lane's first process is the end of all others (pid_namespaces(7)). unshare waits
    # for it, and it is gone once they are.
    for lane in "${running[@]}"; do
        signal=TERM
        while kill -0 "$lane"; do
            pkill -$signal -P "$lane"
            signal=KILL
            sleep 0.2
        done 2>/dev/null
    done
    wait
    # What is left of containers that nobody has stopped.
    for id in $(find "$dir"/*/docker/containers -mindepth 1 -maxdepth 1 -printf '%f\n'); do
        find /sys/fs/cgroup -depth -type d -path "*/docker/$id*" -exec rmdir {} \;
    done 2>/dev/null
    for path in "${groups[@]}"; do find "$path" -depth -type d -exec rmdir {} \;; done 2>/dev/null
    rmdir "${kept[@]}" "${strays[@]}" 2>/dev/null
    umount --lazy "$dir"
    rmdir "$dir"

    # To have been opened allocates a console, and gives it nodes of its own (vcs(4)).
    for tty in "${ttys[@]}"; do busybox deallocvt "${tty#tty}"; done 2>/dev/null
    # The machine's own udevd has heard that they were unplugged.
    if udevadm control --ping --timeout=5 2>/dev/null; then
        for tty in "${ttys[@]}"; do echo add >"/sys/class/tty/$tty/uevent"; done
        udevadm settle --timeout=10
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The engine syncs a lot, which makes a container's start on a disk take twice the time.
mount -t tmpfs tmpfs "$dir"
mkdir -p "${kept[@]}"
# A machine without a compiler brings the images along.
if [ -n "${TTYPLUGD_TEST_IMAGES:-}" ]; then
    cp -r "$TTYPLUGD_TEST_IMAGES/." "$dir"
else
    "$here/images.sh" make "$dir" 9<&-
fi
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
export TTYPLUGD_TEST_DIR DOCKER_HOST DOCKER_CONFIG TTYPLUGD_TEST_TTYS
# A lane's tests share its ttys and its engine.
export RUST_TEST_THREADS=1
for ((lane = 1; lane <= lanes; lane++)); do
    TTYPLUGD_TEST_DIR=$dir/$lane
    TTYPLUGD_TEST_TTYS=$((70 - 10 * lane))
    DOCKER_HOST=unix://$TTYPLUGD_TEST_DIR/docker.sock
    DOCKER_CONFIG=$TTYPLUGD_TEST_DIR/docker-config
    mkdir "$TTYPLUGD_TEST_DIR"
    unshare --mount --net --pid --fork --kill-child --mount-proc \
        "$here/lane.sh" "${ttys[*]}" "$@" <&0 9<&- &
    running+=($!)
done
status=0
for lane in "${running[@]}"; do wait "$lane" || status=$?; done
exit $status
