# Podman's part of what the scenarios are written with (lib.sh says which): root's, without Docker.

cli=podman
. /e2e/engines/cli.sh
image=localhost/e2e/busybox

remove() {
    podman rm --force --time 0 "$@" >/dev/null
}

# What a definition grants beyond the engine's own list. The nodes that rights tries are made by mknod.
definition=(--device /dev/fuse --device-cgroup-rule 'c 13:* r' --device-cgroup-rule 'c 1:11 w' --cap-add MKNOD)

# update NAME...: has the engine put its list in force again.
update() {
    local container
    for container; do podman update --cpu-shares $((RANDOM + 2)) "$container" >/dev/null; done
}

# The units of scenarios are Quadlet's or plain ones, and called e2e-….
engine_begins_afresh() {
    local unit
    for unit in $(systemctl list-units --plain --no-legend 'e2e-app*.service' | cut -d ' ' -f 1); do
        timeout 120 systemctl stop "$unit"
    done
    rm -f /etc/containers/systemd/e2e-* /etc/systemd/system/e2e-app*.service
    rm -f /etc/systemd/system/ttyplugd.service.d/e2e-*
    systemctl daemon-reload
    timeout 120 podman rm --all --force --time 0 >/dev/null
    rm -f /etc/ttyplugd/conf.d/*
}

# version: of Podman, as two numbers, e.g. 4.3.
version() {
    podman version --format '{{.Client.Version}}' | cut -d . -f 1,2
}

# at_least VERSION: Podman is as new as that.
at_least() {
    [ "$(printf '%s\n' "$1" "$(version)" | sort --version-sort | head -n 1)" = "$1" ]
}

# unit NAME COMMAND...: systemd starts the container NAME at boot, and now, with its port and opens held:
# by Quadlet (podman-systemd.unit(5)), which came with Podman 4.4, or else by what Podman generates.
unit() {
    local container=$1
    shift
    if at_least 4.4; then
        mkdir -p /etc/containers/systemd
        {
            printf '%s\n' '[Container]' "ContainerName=$container" "Image=$image" Network=none \
                GlobalArgs=--runtime=ttyplug AutoUpdate=local "Exec=$(printf "'%s' " "$@")"
            printf 'Label=%s\n' "${as_zwave[@]/--label/}" | grep -v '=$'
            printf '%s\n' '[Service]' TimeoutStartSec=300 '[Install]' WantedBy=multi-user.target
        } >"/etc/containers/systemd/e2e-$container.container"
        systemctl daemon-reload
    else
        podman create --name "$container" --network none --runtime ttyplug \
            --label io.containers.autoupdate=local "${as_zwave[@]}" "$image" "$@" >/dev/null
        podman generate systemd --new --name "$container" >"/etc/systemd/system/e2e-$container.service"
        podman rm "$container" >/dev/null
        systemctl daemon-reload
        systemctl --quiet enable "e2e-$container"
    fi
    timeout 300 systemctl start "e2e-$container"
}
