# containerd's part of what the scenarios are written with (lib.sh says which): what Docker runs as a
# container is here one of a pod, and asked for by CRI. NAME is POD/CONTAINER in the namespace home, or POD
# alone, whose container is "main".

image=docker.io/e2e/busybox:latest

as_zwave=(--annotation ttyplugd.port.zwave.match=vendor=0658,product=0200
    --annotation ttyplugd.port.zwave.node=/dev/zwave --annotation ttyplugd.port.zwave.hold=30m)

cri() {
    timeout $((120 * patience)) /e2e/cri "$@"
}

# Unless another namespace of containerd's is set, that of what CRI has made.
ctr() {
    timeout $((120 * patience)) /usr/bin/ctr --namespace "${namespace-k8s.io}" "$@"
}

name_of() {
    case $1 in
    */*) echo "home/$1" ;;
    *) echo "home/$1/main" ;;
    esac
}

# The handler is that of the RuntimeClass ttyplug, unless another is set, such as '' for runc.
start() {
    local name options=()
    name=$(name_of "$1")
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    cri run --handler "${handler-ttyplug}" "${options[@]}" "${name%/*}" "${name##*/}" "$image" "$@" >/dev/null ||
        fail "$name cannot be run"
}

remove() {
    local name
    for name; do
        cri remove "home/${name%/*}"
        rm -rf "/var/log/pods/home_${name%/*}"
    done
}

id_of() {
    cri list | awk -v name="$(name_of "$1")" '$2 == "Running" && $3 == name { print $1 }'
}

running() {
    [ -n "$(id_of "$1")" ]
}

pid_of() {
    ctr tasks list | awk -v id="$(id_of "$1")" '$1 == id { print $2 }'
}

# A line of the log begins with its time, its stream and whether it is a whole one (Kubernetes,
# pkg/kubelet/kuberuntime/logs).
logs_of() {
    local name
    name=$(name_of "$1")
    name=${name#home/}
    cut -d ' ' -f 4- "/var/log/pods/home_${name%/*}/${name##*/}.log"
}

enter() {
    ctr tasks exec --exec-id "e2e-$RANDOM$RANDOM" "$(id_of "$1")" "${@:2}"
}

engine_shows() {
    cri list
    tail -n 20 /var/log/pods/*/*.log
}

engine_begins_afresh() {
    # The first scenario installs it all.
    [ ! -e /etc/containerd/conf.d/ttyplug.toml ] || cri remove
    rm -rf /var/log/pods/* /etc/ttyplugd/conf.d/e2e.toml
}

# import_busybox: the image of all containers and sandboxes, in the format of "docker save".
import_busybox() {
    local work digest
    work=$(mktemp -d)
    busybox_root "$work/root"
    tar -C "$work/root" -cf "$work/layer.tar" .
    digest=sha256:$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
    jq --null-input --arg digest "$digest" '{architecture: "amd64", os: "linux",
        config: {Env: ["PATH=/bin"], Cmd: ["sleep", "1000000"]},
        rootfs: {type: "layers", diff_ids: [$digest]}}' >"$work/config.json"
    jq --null-input --arg image "$image" \
        '[{Config: "config.json", RepoTags: [$image], Layers: ["layer.tar"]}]' >"$work/manifest.json"
    tar -C "$work" -c manifest.json config.json layer.tar | ctr images import -
    rm -rf "$work"
}
