#!/bin/bash
# The Debian 12 root that the packages are built in, so that one package serves Debian 12, Debian 13
# and Raspberry Pi OS: its glibc is the oldest of theirs, and its main has a Rust that is new enough.
#
#   packaging/root.sh make ROOT ARCH...         makes it, unless it is there, and what builds for
#                                               each ARCH in it; needs the network
#   packaging/root.sh remove ROOT
#   packaging/root.sh enter ROOT COMMAND...     runs COMMAND in it as the owner of this project, the
#                                               project read-only in /src, and ROOT/../build in /build
#
# Works as root, by sudo where it is called by somebody else. Every mount is made in a mount
# namespace of this script's own, and is gone with it however it ends.
set -euo pipefail

project=$(dirname "$(dirname "$(realpath "$0")")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ "$(id -u)" != 0 ]; then
    exec sudo "$0" "$@"
fi
if [ "${TTYPLUGD_ROOT_NAMESPACE:-}" != own ]; then
    exec env TTYPLUGD_ROOT_NAMESPACE=own unshare --mount --propagation private "$0" "$@"
fi

# Where the machine's own apt has Debian from; another distribution has it from Debian.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" \
        "Origin: Debian" "Label: Debian" "Component: main" | head -n 1)
    case $found in
    mirror+file:*)
        # The file has a mirror a line, the best one first (apt-transport-mirror(1)).
        found=$(sed -En '/^[a-z]+:/{s/[[:space:]].*//;p;q}' "${found#mirror+file:}")
        ;;
    esac
    echo "${found:-http://deb.debian.org/debian}"
}

# A checkout may lie where devices and root's programs do not work (Debian 13's /tmp).
mount_root() {
    mount --bind "$1" "$1"
    mount -o remount,bind,dev,suid,exec "$1"
}

in_root() {
    local root=$1
    shift
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} DEBIAN_FRONTEND=noninteractive "$@"
}

apt_install() {
    in_root "$1" apt-get -q install -y --no-install-recommends "${@:2}"
}

# Debian's name of an architecture as GNU writes it, and as cc, ld and pkg-config are found by.
triple() {
    case $1 in
    amd64) echo x86_64-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
    armhf) echo arm-linux-gnueabihf ;;
    *)
        echo "root: no package is built for \"$1\": amd64, arm64 or armhf" >&2
        return 2
        ;;
    esac
}

# From main alone: the security archive has a newer rustc-web, but not for every architecture, and
# all of them have to be of one version.
make_base() {
    local root=$1
    remove_root "$root"
    mkdir -p "$root.new"
    mount_root "$root.new"
    timeout 900 debootstrap --variant=minbase --components=main bookworm "$root.new" "$(mirror)"
    apt_install "$root.new" rustc-web cargo-web gcc libc6-dev pkg-config libudev-dev
    # What the package depends on, for lifecycle.sh.
    apt_install "$root.new" procps udev
    umount --recursive "$root.new"
    mv "$root.new" "$root"
}

# minbase's pkg-config has no wrapper per architecture, and needs none: see build.sh.
add_architecture() {
    local root=$1 arch=$2 cross
    cross=$(triple "$arch" | tr _ -)
    in_root "$root" dpkg --add-architecture "$arch"
    in_root "$root" apt-get -q update
    # A library is of one version for all architectures, and these may be new ones.
    in_root "$root" apt-get -q upgrade -y
    apt_install "$root" "libstd-rust-web-dev:$arch" "gcc-$cross" "libc6-dev:$arch" "libudev-dev:$arch"
}

remove_root() {
    rm -rf --one-file-system "$1.new" "$1"
}

make_root() {
    local root=$1 arch recipe
    shift
    recipe=$(sha256sum <"$0")
    if [ "$(cat "$root/var/lib/recipe" 2>/dev/null || true)" != "$recipe" ]; then
        make_base "$root"
        echo "$recipe" >"$root/var/lib/recipe"
    fi
    mount_root "$root"
    mount -t proc proc "$root/proc"
    for arch in "$@"; do
        [ "$arch" != "$(in_root "$root" dpkg --print-architecture)" ] || continue
        [ -e "$root/var/lib/recipe.$arch" ] || add_architecture "$root" "$arch"
        touch "$root/var/lib/recipe.$arch"
    done
    in_root "$root" apt-get clean
}

enter() {
    local root=$1
    shift
    mkdir -p "$root/src" "$root/build"
    mount_root "$root"
    mount --bind "$project" "$root/src"
    mount -o remount,bind,ro "$root/src"
    mount --bind "$root/../build" "$root/build"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    in_root "$root" setpriv --reuid "$(stat -c %u "$project")" --regid "$(stat -c %g "$project")" \
        --clear-groups "$@"
}

proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "$proxy" ] || export http_proxy=$proxy

umask 022
verb=${1:-}
root=$(realpath -m "${2:?which root?}")
shift 2
case $verb in
make) make_root "$root" "$@" ;;
remove) remove_root "$root" ;;
enter) enter "$root" "$@" ;;
*)
    echo "root: unknown verb \"$verb\": make, remove or enter" >&2
    exit 2
    ;;
esac
