# crun behind our runtime, and a container that has its open held and its port granted all the same.
# The engine keeps a file of this name for good (moby, daemon/runtime_unix.go), hence not one of ours.

docker_setting '.runtimes."crun-with-holds" = {"path": "/usr/bin/ttyplug-runtime", "runtimeArgs": ["--runtime", "crun"]}'
has_the_runtime() {
    docker info --format '{{json .Runtimes}}' | grep -q crun-with-holds
}
within 60 "the engine has the runtime crun-with-holds" has_the_runtime
keep version crun --version
# The last --runtime counts.
hold_an_open --runtime crun-with-holds
expect "the runtime" crun-with-holds "$(docker inspect --format '{{.HostConfig.Runtime}}' app)"
it_goes_on
can_open app /dev/zwave || fail "it cannot open its port"
root=$(root_of app)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
docker rm --force app >/dev/null

rights_stay crun-with-holds
docker_setting 'del(.runtimes."crun-with-holds")'
