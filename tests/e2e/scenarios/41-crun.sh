# crun behind our runtime, and a container that has its open held and its right given all the same.

docker_setting '.runtimes."ttyplug-crun" = {"path": "/usr/bin/ttyplug-runtime", "runtimeArgs": ["--runtime", "crun"]}'
has_the_runtime() {
    docker info --format '{{json .Runtimes}}' | grep -q ttyplug-crun
}
within 60 "the engine has the runtime ttyplug-crun" has_the_runtime
# The last --runtime counts.
hold_an_open --runtime ttyplug-crun
expect "the runtime" ttyplug-crun "$(docker inspect --format '{{.HostConfig.Runtime}}' app)"
it_goes_on
can_open app /dev/zwave || fail "it cannot open its port"
docker exec app sh -c ': <>/dev/null && : <>/dev/zero' || fail "it cannot open what every container can"
root=$(root_of app)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
docker rm --force app >/dev/null
docker_setting 'del(.runtimes."ttyplug-crun")'
