#!/bin/bash
# Installs, upgrades, removes and purges a Debian package of this machine's architecture in a
# temporary copy of the Debian 12 root, and checks which files each step leaves:
#
#   packaging/lifecycle.sh ROOT DEB
#
# Runs as root, with sudo if necessary. The root has neither systemd nor Docker; make e2e tests
# the package with both.
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    exec sudo "$0" "$@"
fi
# The copy is in memory and ends with the mount namespace. The PID namespace hides the processes of
# this machine, because the package keeps /run/ttyplugd while a keeper is running.
if [ "${TTYPLUGD_ROOT_NAMESPACE:-}" != own ]; then
    exec env TTYPLUGD_ROOT_NAMESPACE=own \
        unshare --mount --propagation private --pid --fork --kill-child "$0" "$@"
fi

deb=$(realpath "$2")
work=/run/ttyplugd-lifecycle
root=$work/root

fail() {
    echo "lifecycle: $*" >&2
    exit 1
}

in_root() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

run_dpkg() {
    in_root dpkg "$@" >"$work/log" 2>&1 || fail "dpkg $*: $(cat "$work/log")"
}

status() {
    in_root dpkg-query --show --showformat '${Status} ${Version}' ttyplugd
}

# The same package with a higher version.
make_next() {
    dpkg-deb --raw-extract "$deb" "$work/next"
    sed -i "s/^Version: .*/&+next/" "$work/next/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$work/next" "$root/next.deb" >/dev/null
}

mkdir -p "$work"
trap 'rmdir "$work"' EXIT
mount -t tmpfs tmpfs "$work"
trap 'umount --recursive --lazy "$work" && rmdir "$work"' EXIT
mkdir "$work"/{upper,work,root}
mount -t overlay overlay \
    -o "lowerdir=$(realpath "$1"),upperdir=$work/upper,workdir=$work/work" "$root"
mount -t proc proc "$root/proc"
cp "$deb" "$root/this.deb"
make_next
list_files() {
    (cd "$root" && find . -xdev -not -path './proc/*' -not -path './var/lib/dpkg/*' \
        -not -path './var/lib/systemd*' -not -path './etc/systemd*' | sort)
}
list_files >"$work/before"

run_dpkg --install /this.deb
[[ $(status) = "install ok installed "* ]] || fail "status after the installation: $(status)"
[ -L "$root/etc/systemd/system/multi-user.target.wants/ttyplugd.service" ] || fail "the service is not enabled"
in_root ttyplugd --version >/dev/null

# An upgrade keeps the configuration and the state.
echo '# mine' >>"$root/etc/ttyplugd/config.toml"
mkdir -p "$root/etc/ttyplugd/conf.d" "$root/var/lib/ttyplugd" "$root/run/ttyplugd/k"
touch "$root/var/lib/ttyplugd/containers.json"
run_dpkg --install /next.deb
[[ $(status) = "install ok installed "*+next ]] || fail "status after the upgrade: $(status)"
grep -q mine "$root/etc/ttyplugd/config.toml" || fail "the upgrade changed the configuration"
run_dpkg --install /this.deb
[[ $(status) != *+next ]] || fail "status after the downgrade: $(status)"

run_dpkg --remove ttyplugd
[ ! -e "$root/usr/bin/ttyplugd" ] || fail "the removal left the program"
grep -q mine "$root/etc/ttyplugd/config.toml" || fail "the removal deleted the configuration"
[ -e "$root/var/lib/ttyplugd/containers.json" ] || fail "the removal deleted the state"

run_dpkg --install /this.deb
run_dpkg --purge ttyplugd
list_files >"$work/after"
diff "$work/before" "$work/after" >&2 || fail "the purge left (>) or deleted (<) these files"
left=$(find "$root/etc/systemd" "$root/var/lib/systemd" "$root/var/lib/dpkg" -name '*ttyplug*')
[ -z "$left" ] || fail "the purge left $left"
