# What Docker's command line and Podman's have alike, for docker.sh and podman.sh. $cli is the program.

# The port of most scenarios, which is held longer than any scenario waits. No container is given a
# right to it by its definition.
as_zwave=(--label ttyplugd.port.zwave.match=vendor=0658,product=0200
    --label ttyplugd.port.zwave.node=/dev/zwave --label ttyplugd.port.zwave.hold=30m)

# start NAME [OPTION...] -- COMMAND...: a container of $image with opens held.
start() {
    local container=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    timeout $((120 * patience)) $cli run --detach --name "$container" --network none --runtime ttyplug \
        "${options[@]}" "$image" "$@" >/dev/null ||
        fail "$cli run of $container fails"
}

running() {
    [ "$($cli inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]
}

pid_of() {
    $cli inspect --format '{{.State.Pid}}' "$1"
}

logs_of() {
    $cli logs "$1" 2>&1
}

enter() {
    $cli exec "$@"
}

name_of() {
    echo "$1"
}

engine_shows() {
    local container
    timeout 20 $cli ps --all
    for container in $(timeout 20 $cli ps --all --quiet); do
        echo "--- $cli logs $container"
        timeout 20 $cli logs --tail 20 "$container"
    done
}
