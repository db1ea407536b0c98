# Docker's part of what the scenarios are written with (lib.sh says which).

cli=docker
. /e2e/engines/cli.sh
image=e2e/busybox

# with_applications: containers that are started from here on have the image of real applications.
with_applications() {
    image=e2e/applications
    docker image inspect $image >/dev/null 2>&1 ||
        timeout 300 docker import --change 'WORKDIR /app' - $image </e2e/applications.tar >/dev/null
}

remove() {
    docker rm --force "$@" >/dev/null
}

engine_begins_afresh() {
    if [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" = active ]; then
        timeout 60 docker swarm leave --force >/dev/null
    fi
    docker ps --all --quiet | xargs -r timeout 120 docker rm --force >/dev/null
    if grep -qsE 'live-restore|: "ttyplug"|crun-with-holds' /etc/docker/daemon.json; then
        docker_setting 'del(."live-restore", .runtimes."crun-with-holds") | ."default-runtime" = "runc"'
    fi
}

# docker_setting FILTER: has jq edit Docker's configuration, and Docker read it.
docker_setting() {
    jq "$1" /etc/docker/daemon.json >/run/daemon.json
    mv /run/daemon.json /etc/docker/daemon.json
    systemctl reload docker
}

# -- what a container may do with all sorts of devices ------------------------------------------------

# What a definition grants beyond the engine's own list.
definition=(--device /dev/fuse --device-cgroup-rule 'c 13:* r' --device-cgroup-rule 'c 1:11 w')

# update NAME...: has the engine put its list in force again.
update() {
    # Docker 20.10 gives crun a memory limit of 0 at an update, which ends the container.
    case $runtime/$(docker version --format '{{.Server.Version}}') in crun*/20.10.*) return ;; esac
    docker update --cpu-shares $((RANDOM + 2)) "$@" >/dev/null
}
