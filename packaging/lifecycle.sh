#!/bin/bash
# Installs a Debian package of this machine's architecture in a throw-away copy of the Debian 12
# root, upgrades, removes and purges it, and looks at what each of these has left:
#
#   packaging/lifecycle.sh ROOT DEB
#
# Works as root, by sudo where it is called by somebody else. No service runs there, and no Docker:
# what happens to those is shown by the whole-machine test (make e2e).
set -euo pipefail

if [ "$(id -u)" != 0 ]; then
    exec sudo "$0" "$@"
fi
# As in root.sh: the copy is in memory, and gone with its mounts. No process of this machine's is seen
# in it: a keeper that lives keeps its files.
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

dpkg_does() {
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
# What is on the machine before is there afterwards.
everything() {
    (cd "$root" && find . -xdev -not -path './proc/*' -not -path './var/lib/dpkg/*' \
        -not -path './var/lib/systemd*' -not -path './etc/systemd*' | sort)
}
everything >"$work/before"

dpkg_does --install /this.deb
[[ $(status) = "install ok installed "* ]] || fail "installed, it is: $(status)"
[ -L "$root/etc/systemd/system/multi-user.target.wants/ttyplugd.service" ] || fail "it is not enabled"
in_root ttyplugd --version >/dev/null

# What the administrator has written is kept, here and in what the daemon remembers.
echo '# mine' >>"$root/etc/ttyplugd/config.toml"
mkdir -p "$root/etc/ttyplugd/conf.d" "$root/var/lib/ttyplugd" "$root/run/ttyplugd/k"
touch "$root/var/lib/ttyplugd/owned.json"
dpkg_does --install /next.deb
[[ $(status) = "install ok installed "*+next ]] || fail "upgraded, it is: $(status)"
grep -q mine "$root/etc/ttyplugd/config.toml" || fail "an upgrade changes the configuration"
dpkg_does --install /this.deb
[[ $(status) != *+next ]] || fail "downgraded, it is: $(status)"

dpkg_does --remove ttyplugd
[ ! -e "$root/usr/bin/ttyplugd" ] || fail "removed, it is there still"
grep -q mine "$root/etc/ttyplugd/config.toml" || fail "a removal takes the configuration away"
[ -e "$root/var/lib/ttyplugd/owned.json" ] || fail "a removal takes away what the daemon remembers"

dpkg_does --install /this.deb
dpkg_does --purge ttyplugd
everything >"$work/after"
diff "$work/before" "$work/after" >&2 || fail "this is what a purge leaves (>) or takes (<)"
left=$(find "$root/etc/systemd" "$root/var/lib/systemd" "$root/var/lib/dpkg" -name '*ttyplug*')
[ -z "$left" ] || fail "a purge leaves $left"
