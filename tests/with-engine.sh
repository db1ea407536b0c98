#!/bin/bash
# Runs a command beside a Docker engine, a udevd and four test ttys of its own:
#
#   tests/with-engine.sh COMMAND [ARGUMENT...]
#
# The command finds in its environment
#   DOCKER_HOST         the private engine, with the images of tests/images.sh in it
#   TTYPLUGD_TEST_DIR   the directory of everything temporary; ports/ttyNN in it holds the udev
#                       properties that tty60 to tty63 get at their next "add" (KEY=value lines)
# and may use tests/engine.sh to stop and start the engine.
#
# An engine in use is left alone: this one has its own containerd, socket, directories and pid files.
# udevd is started only where none runs. Whatever way the command ends, what was started here is
# stopped and what was made here is removed, below /run and /dev too.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ $# = 0 ]; then
    echo "with-engine: which command?" >&2
    exit 2
fi
if [ "$(id -u)" != 0 ]; then
    # sudo has a PATH and a HOME of its own, and cargo is found by the user's.
    exec sudo env PATH="$PATH" CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" \
        RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" \
        ${TTYPLUGD_TEST_INJECT:+TTYPLUGD_TEST_INJECT="$TTYPLUGD_TEST_INJECT"} "$0" "$@"
fi
for tool in dockerd containerd docker udevadm busybox flock setsid; do
    command -v $tool >/dev/null || {
        echo "with-engine: there is no $tool: run tests/prerequisites.sh test" >&2
        exit 1
    }
done
for n in 60 61 62 63; do
    [ -w /sys/class/tty/tty$n/uevent ] || {
        echo "with-engine: this kernel has no tty$n to play a serial port (CONFIG_VT)" >&2
        exit 1
    }
done

# There is one tty63 and one udevd on a machine, so two runs wait for each other.
exec 9</sys/class/tty
if ! flock --nonblock 9; then
    echo "with-engine: another run has the test ttys; waiting for it" >&2
    flock --timeout 3600 9
fi

rules=/run/udev/rules.d/98-ttyplugd-test.rules
udevd=
owners=
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
TTYPLUGD_TEST_DIR=$(mktemp -d -t ttyplugd-test.XXXXXX)
export TTYPLUGD_TEST_DIR
export DOCKER_HOST=unix://$TTYPLUGD_TEST_DIR/docker.sock
export DOCKER_CONFIG=$TTYPLUGD_TEST_DIR/docker-config
dir=$TTYPLUGD_TEST_DIR

# What the engine and udevd make outside of their directories, whatever one tells them.
# Only what did not exist before is removed, and of directories only empty ones.
strays=()
for path in /run/docker /run/mount /run/containerd /etc/docker /etc/docker/key.json /dev/mqueue /dev/char /dev/serial \
    /run/udev/rules.d /sys/fs/cgroup/docker $(printf '%s/docker\n' /sys/fs/cgroup/*/); do
    [ -e "$path" ] || strays+=("$path")
done
[ -e /run/udev ] && had_run_udev=yes || had_run_udev=

remove_strays() {
    local path
    # Later ones are inside of earlier ones.
    for path in $(printf '%s\n' "${strays[@]}" | tac); do
        if [ -d "$path" ]; then
            find "$path" -depth -type d -exec rmdir {} \; 2>/dev/null
        else
            rm -f "$path"
        fi
    done
    [ -n "$had_run_udev" ] || rm -rf /run/udev
}

within() {
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# The file /run/udev/control outlives its udevd, so its presence says nothing.
udevd_answers() {
    udevadm control --ping --timeout=5 2>/dev/null
}

uevent() {
    local n
    for n in 60 61 62 63; do echo "$1" >/sys/class/tty/tty$n/uevent; done
    udevadm settle --timeout=10
}

# Every process below this script carries the directory's name in its environment, and no other does.
ours() {
    local environ
    for environ in /proc/[0-9]*/environ; do
        grep -qszxF "TTYPLUGD_TEST_DIR=$dir" "$environ" && basename "$(dirname "$environ")"
    done
    true
}

none_of_ours() {
    [ -z "$(ours)" ]
}

end_all_of_ours() {
    local pid
    for pid in $(ours); do kill "$1" "$pid" 2>/dev/null || true; done
    within 5 none_of_ours
}

clean_up() {
    set +e
    trap '' INT TERM HUP
    # A socket without its dockerd means that it was killed: its containers run on, and only an
    # engine that knows them can end them.
    if [ -S "$dir/docker.sock" ] && "$here/engine.sh" start; then
        timeout 60 docker ps --all --quiet 2>/dev/null | xargs -r timeout 60 docker rm --force >/dev/null 2>&1
    fi
    "$here/engine.sh" stop
    # Also the shims that an engine leaves behind when it is killed, and daemons that a test lost.
    end_all_of_ours -TERM || end_all_of_ours -KILL

    # To have been opened allocates a console, and gives it nodes of its own (vcs(4)).
    for n in 60 61 62 63; do busybox deallocvt $n 2>/dev/null; done
    # A removed device loses its links; with the rules gone the next "add" restores owner and mode.
    [ ! -e $rules ] || uevent remove
    # The bench removes its own rules, but not when it is interrupted.
    rm -f $rules /run/udev/rules.d/99-ttyplugd-bench-*.rules
    if [ -n "$udevd" ]; then
        kill "$udevd" && wait "$udevd" 2>/dev/null
    elif udevd_answers; then
        udevadm control --reload
        uevent add
    fi
    [ -z "$owners" ] || while read -r name owner mode; do
        chown "$owner" "$name" && chmod "$mode" "$name"
    done <<<"$owners"
    grep -oE " $dir/[^ ]+" /proc/self/mountinfo | sort -ru | xargs -r umount --lazy 2>/dev/null
    rm -rf --one-file-system "$dir"
    remove_strays
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# udevd, and a rule that gives the ttys the properties that the tests wrote.
if ! udevd_answers; then
    owners=$(stat --format '%n %u:%g %a' /dev/tty6[0-3])
    # With --daemon its number would be unknown. It is not below this directory's name in the
    # environment, because it has to outlive what end_all_of_ours stops.
    env --unset=TTYPLUGD_TEST_DIR setsid /lib/systemd/systemd-udevd </dev/null >"$dir/udevd.log" 2>&1 9<&- &
    udevd=$!
    within 20 udevd_answers || {
        echo "with-engine: udevd does not answer:" >&2
        cat "$dir/udevd.log" >&2
        exit 1
    }
fi
mkdir -p "$dir/ports" /run/udev/rules.d
# string_escape=none lets characters into a link's name that udev would replace: a rule file of the
# operator may say so. The literal newline shows what udevd itself makes of one.
cat >$rules <<END
SUBSYSTEM!="tty", GOTO="ttyplugd_test_end"
KERNEL!="tty6[0-3]", GOTO="ttyplugd_test_end"
ACTION=="remove", GOTO="ttyplugd_test_end"
IMPORT{file}="$dir/ports/%k"
ENV{ID_BUS}=="usb", TAG+="ttyplugd", GROUP="dialout", MODE="0660"
ENV{TEST_NEWLINE}=="1", ENV{ID_SERIAL_SHORT}=e"one\ntwo"
ENV{TEST_BY_ID}=="?*", OPTIONS+="string_escape=none", SYMLINK+="serial/by-id/\$env{TEST_BY_ID}"
ENV{TEST_BY_PATH}=="?*", OPTIONS+="string_escape=none", SYMLINK+="serial/by-path/\$env{TEST_BY_PATH}"
LABEL="ttyplugd_test_end"
END
udevadm control --reload

# The engine. It gets a containerd of its own: the one it would start keeps its state in /run.
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n' >"$dir/containerd.toml"
setsid containerd --config "$dir/containerd.toml" --address "$dir/containerd.sock" \
    --root "$dir/containerd" --state "$dir/containerd-state" \
    </dev/null >"$dir/containerd.log" 2>&1 9<&- &
"$here/engine.sh" start 9<&-
"$here/images.sh" 9<&-

# The tests share the ttys and the engine.
export RUST_TEST_THREADS=1
"$@" 9<&-
