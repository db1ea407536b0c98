# Swarm has no runtime per service, so ttyplug is the engine's default one.

docker_setting '."default-runtime" = "ttyplug"'
is_default() {
    [ "$(docker info --format '{{.DefaultRuntime}}')" = ttyplug ]
}
within 60 "ttyplug is the default runtime" is_default
timeout 120 docker swarm init --advertise-addr 127.0.0.1 >/dev/null
timeout 120 docker service create --detach --name app --no-resolve-image \
    --container-label ttyplugd.port.zwave.match=vendor=0658,product=0200 \
    --container-label ttyplugd.port.zwave.node=/dev/zwave \
    --container-label ttyplugd.port.zwave.hold=30m \
    e2e/busybox sh -c "$uses_port" app /dev/zwave >/dev/null

task() {
    docker ps --quiet --filter label=com.docker.swarm.service.name=app
}
runs() {
    [ -n "$(task)" ]
}
within 120 "the service runs" runs
container=$(docker inspect --format '{{slice .Name 1}}' "$(task)")
within 60 "its open is held" holds "$container"
listen 0
plug 0 "${zwave[@]}"
within 90 "the open has succeeded: the stick hears the application" heard 0 said-by-app
within 60 "status says ready" is_ready "$container"
root=$(root_of "$container")
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
timeout 60 docker service rm app >/dev/null
timeout 60 docker swarm leave --force >/dev/null
# Without the line the engine would keep what it has (moby, daemon/reload_unix.go).
docker_setting '."default-runtime" = "runc"'
