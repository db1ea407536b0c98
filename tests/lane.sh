#!/bin/bash
# The first process of a lane of tests/with-engine.sh: makes its namespaces a machine of its own as
# far as ttyplugd can see, and runs a command there.
#
#   unshare --mount --net --pid … tests/lane.sh "TTY..." COMMAND [ARGUMENT...]
#
# TTYs are those of all lanes. The kernel sends its uevents to every network namespace, so each
# lane's udevd handles those of all ttys; the rule below knows its own.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
dir=$TTYPLUGD_TEST_DIR
first=$TTYPLUGD_TEST_TTYS
ttys=$1
shift

for path in /run /etc/docker /etc/containers /var/lib/containers /dev/serial /dev/char /dev/shm; do
    mount -t tmpfs -o mode=755 tmpfs $path
done
# Podman's service is started by the tests that use it. It has its locks in /dev/shm, and does not
# start a container without the file that DOCKER_CONFIG promises.
mkdir "$DOCKER_CONFIG"
echo '{}' >"$DOCKER_CONFIG/config.json"
echo '{ "default": [{ "type": "insecureAcceptAnything" }] }' >/etc/containers/policy.json
cat >/etc/containers/containers.conf <<'END'
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
# crun refuses cgroup v1 beside v2, which not every machine can do without.
runtime = "runc"
END
# udevd sets owner and mode of a tty's node, and each lane's udevd has its own idea of them.
mkdir /run/ttys
for tty in $ttys; do
    mknod -m 620 "/run/ttys/$tty" c 4 "${tty#tty}"
    mount --bind "/run/ttys/$tty" "/dev/$tty"
done
busybox ip link set lo up

mkdir -p "$dir/ports" /run/udev/rules.d
# string_escape=none lets characters into a link's name that udev would replace: a rule file of the
# operator may say so. The literal newline shows what udevd itself makes of one.
cat >/run/udev/rules.d/98-ttyplugd-test.rules <<END
SUBSYSTEM!="tty", GOTO="ttyplugd_test_end"
KERNEL!="tty$((first / 10))[0-3]", GOTO="ttyplugd_test_end"
ACTION=="remove", GOTO="ttyplugd_test_end"
IMPORT{file}="$dir/ports/%k"
ENV{ID_BUS}=="usb", TAG+="ttyplugd", GROUP="dialout", MODE="0660"
ENV{TEST_NEWLINE}=="1", ENV{ID_SERIAL_SHORT}=e"one\ntwo"
ENV{TEST_BY_ID}=="?*", OPTIONS+="string_escape=none", SYMLINK+="serial/by-id/\$env{TEST_BY_ID}"
ENV{TEST_BY_PATH}=="?*", OPTIONS+="string_escape=none", SYMLINK+="serial/by-path/\$env{TEST_BY_PATH}"
ENV{TEST_LINK}=="?*", SYMLINK+="\$env{TEST_LINK}"
LABEL="ttyplugd_test_end"
END
/lib/systemd/systemd-udevd </dev/null >"$dir/udevd.log" 2>&1 &
tries=400
until udevadm control --ping --timeout=5 2>/dev/null; do
    [ $((tries -= 1)) -gt 0 ] || {
        echo "lane: udevd does not answer:" >&2
        cat "$dir/udevd.log" >&2
        exit 1
    }
    sleep 0.05
done

# The engine gets a containerd of its own, that a test may end. With a session of its own it does not
# get the Ctrl-C that is meant for the tests.
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n' >"$dir/containerd.toml"
setsid containerd --config "$dir/containerd.toml" --address "$dir/containerd.sock" \
    --root "$dir/containerd" --state "$dir/containerd-state" \
    </dev/null >"$dir/containerd.log" 2>&1 &
"$here/engine.sh" start
"$here/images.sh" import "$(dirname "$dir")"
ln -s ../opens "$dir/opens"

# The end of this process is the end of all others here, and waits for those that are frozen
# (pid_namespaces(7)).
trap '"$here/thaw.sh" "$dir/docker"' EXIT
# A trap waits for a command that runs in the foreground.
trap 'exit 143' TERM
"$@" <&0 &
wait $!
