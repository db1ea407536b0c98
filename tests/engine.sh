#!/bin/bash
# Starts and stops the private dockerd of tests/with-engine.sh, always with the same arguments and
# whatever is added to them:
#
#   tests/engine.sh start [ARGUMENT...]
#   tests/engine.sh stop
#
# Everything it has is below TTYPLUGD_TEST_DIR, and its bridge and iptables rules do not exist,
# so an engine in use never notices it.
set -euo pipefail

dir=${TTYPLUGD_TEST_DIR:?is not set: run this below tests/with-engine.sh}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

answers() {
    timeout 10 docker version >/dev/null 2>&1
}

# The number is taken for dockerd only while the process it names was started with this pid file:
# a number that outlives its process can be given to another one.
running() {
    local pid
    pid=$(cat "$dir/dockerd.pid" 2>/dev/null) && grep -qszxF "$dir/dockerd.pid" "/proc/$pid/cmdline"
}

# Polls for SECONDS until COMMAND succeeds.
within() {
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

stopped() {
    ! running
}

case ${1:-} in
start)
    running && exit 0
    # dockerd refuses to start over a pid file whose number another process has now.
    rm -f "$dir/dockerd.pid"
    # Without --config-file the settings of an engine in use, /etc/docker/daemon.json, would apply.
    [ -e "$dir/daemon.json" ] || echo '{}' >"$dir/daemon.json"
    # With a session of its own it does not get the Ctrl-C that is meant for the tests.
    setsid dockerd --config-file "$dir/daemon.json" --host "unix://$dir/docker.sock" \
        --containerd "$dir/containerd.sock" --pidfile "$dir/dockerd.pid" \
        --data-root "$dir/docker" --exec-root "$dir/exec" \
        --bridge=none --iptables=false --ip6tables=false --ip-forward=false --userland-proxy=false \
        "${@:2}" \
        </dev/null >>"$dir/dockerd.log" 2>&1 &
    if ! within 90 answers; then
        echo "engine: dockerd did not answer within 90 s; the end of its log:" >&2
        tail -n 20 "$dir/dockerd.log" >&2
        exit 1
    fi
    ;;
stop)
    running || exit 0
    pid=$(cat "$dir/dockerd.pid")
    kill "$pid"
    if ! within 60 stopped; then
        echo "engine: dockerd did not stop within 60 s and is killed" >&2
        kill -KILL "$pid" || true
        within 10 stopped
    fi
    ;;
*)
    echo "engine: start or stop" >&2
    exit 2
    ;;
esac
