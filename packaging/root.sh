#!/bin/bash
# Manages the Debian 12 root in which the packages are built. One package works on Debian 12,
# Debian 13 and Raspberry Pi OS, because the glibc of Debian 12 is the oldest of them.
#
#   packaging/root.sh make ROOT ARCH...         creates it if necessary, with the compilers for each
#                                               ARCH; needs the network
#   packaging/root.sh remove ROOT
#   packaging/root.sh enter ROOT COMMAND...     runs COMMAND in it as the owner of this project,
#                                               with the project read-only in /src and
#                                               ROOT/../build in /build
#
# Runs as root, with sudo if necessary. The script has a mount namespace of its own, so its mounts
# end with it.
set -euo pipefail

project=$(dirname "$(dirname "$(realpath "$0")")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ "$(id -u)" != 0 ]; then
    exec sudo "$0" "$@"
fi
if [ "${TTYPLUGD_ROOT_NAMESPACE:-}" != own ]; then
    exec env TTYPLUGD_ROOT_NAMESPACE=own unshare --mount --propagation private "$0" "$@"
fi

# The Debian mirror of this machine's apt, or Debian's own on another distribution.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" \
        "Origin: Debian" "Label: Debian" "Component: main" | head -n 1)
    case $found in
    mirror+file:*)
        # The file has one mirror per line, the preferred one first (apt-transport-mirror(1)).
        found=$(sed -En '/^[a-z]+:/{s/[[:space:]].*//;p;q}' "${found#mirror+file:}")
        ;;
    esac
    echo "${found:-http://deb.debian.org/debian}"
}

# The file system of the checkout may be mounted with nodev, nosuid or noexec (/tmp of Debian 13).
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

# The GNU triple of a Debian architecture, as in the names of cc, ld and pkg-config.
triple() {
    case $1 in
    amd64) echo x86_64-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
    armhf) echo arm-linux-gnueabihf ;;
    *)
        echo "root: unknown architecture \"$1\": expected amd64, arm64 or armhf" >&2
        return 2
        ;;
    esac
}

# Only from main: the security archive has a newer rustc-web, but not for every architecture, and
# the versions of all architectures have to be the same.
make_base() {
    local root=$1
    remove_root "$root"
    mkdir -p "$root.new"
    mount_root "$root.new"
    timeout 900 debootstrap --variant=minbase --components=main bookworm "$root.new" "$(mirror)"
    apt_install "$root.new" rustc-web cargo-web gcc libc6-dev pkg-config libudev-dev
    # The dependencies of the package, for lifecycle.sh.
    apt_install "$root.new" procps udev
    umount --recursive "$root.new"
    mv "$root.new" "$root"
}

# pkg-config has no wrapper per architecture here, and needs none: see build.sh.
add_architecture() {
    local root=$1 arch=$2 cross
    cross=$(triple "$arch" | tr _ -)
    in_root "$root" dpkg --add-architecture "$arch"
    in_root "$root" apt-get -q update
    # All architectures of a library have to have the same version, and there may be a new one.
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
command=${1:-}
root=$(realpath -m "${2:?which root?}")
shift 2
case $command in
make) make_root "$root" "$@" ;;
remove) remove_root "$root" ;;
enter) enter "$root" "$@" ;;
*)
    echo "root: unknown command \"$command\": expected make, remove or enter" >&2
    exit 2
    ;;
esac
