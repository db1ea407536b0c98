#!/bin/bash
# Makes the disk, kernel and initrd of a machine of machines/, unless they are there:
#
#   tests/e2e/build.sh MACHINE
#
# They are kept below target/e2e/cache, under a name that changes with everything that they are made
# of; the last line says where. Needs root and apt's archive.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "$here/../.."

. "$here/debian.sh"
machine=${1:?which machine?}
# Every machine sets suite, arch (of its programs), kernel (the package), packages (what Docker is
# there), qemu, bus (of its virtio devices: pci or device) and console; run.sh says what it may set
# besides.
. "$here/machines/$machine.sh"

one_at_a_time "$machine"
recipe=$(cat "$here"/{build.sh,debian.sh,"machines/$machine.sh"} | sha256sum | cut -c 1-12)
made=target/e2e/cache/$machine.$recipe
if [ -e "$made/disk.img" ]; then
    echo "$made"
    exit 0
fi

work=$PWD/target/e2e/cache/$machine.new
root=$work/root
clean_up() {
    set +e
    unmount "$root"
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP
clean_up
set -e

include=(systemd systemd-sysv udev dbus kmod iproute2 iptables ca-certificates openssh-server curl
    apparmor jq busybox-static zstd initramfs-tools "${packages[@]}")
emulate "$arch"
bootstrap "$root" "$suite" "$arch" "${include[@]}"

# An initrd with every driver there is takes long to make, to load and to unpack under emulation.
echo MODULES=list >"$root/etc/initramfs-tools/conf.d/e2e"
printf '%s\n' virtio_pci virtio_mmio virtio_blk ext4 >>"$root/etc/initramfs-tools/modules"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# A kernel of another architecture than the programs', as NAME:ARCH, comes from a list of its own.
if [[ $kernel == *:* ]]; then
    in_root "$root" dpkg --add-architecture "${kernel#*:}"
    in_root "$root" timeout 600 apt-get -q update >"$work/kernel.log" 2>&1
fi
in_root "$root" timeout 1800 apt-get -q install -y --no-install-recommends "$kernel" >"$work/kernel.log" 2>&1 || {
    tail -n 20 "$work/kernel.log" >&2
    exit 1
}

# The machine's own settings: its network, a way in, and nothing that works beside the tests.
echo e2e >"$root/etc/hostname"
printf '127.0.0.1 localhost e2e\n' >"$root/etc/hosts"
printf 'LABEL=e2e / ext4 defaults 0 1\n' >"$root/etc/fstab"
mkdir -p "$root/var/log/journal" "$root/etc/systemd/network" "$root/etc/ssh/sshd_config.d"
cat >"$root/etc/systemd/network/10-e2e.network" <<END
[Match]
Name=en* eth*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
END
# A session of pam_systemd's is a service manager of its own, with its own start and stop.
echo "UsePAM no" >"$root/etc/ssh/sshd_config.d/e2e.conf"
# What a run brings along is a tar archive on a disk with this serial number; which disk is the first
# one is not the same on every machine.
cat >"$root/etc/systemd/system/e2e-luggage.service" <<'END'
[Unit]
Before=ssh.service
Wants=dev-disk-by\x2did-virtio\x2dluggage.device
After=dev-disk-by\x2did-virtio\x2dluggage.device
[Service]
Type=oneshot
ExecStart=/usr/bin/tar -C / -xf /dev/disk/by-id/virtio-luggage
[Install]
WantedBy=multi-user.target
END
in_root "$root" systemctl --quiet enable systemd-networkd e2e-luggage
in_root "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service systemd-timesyncd.service

cp "$(realpath "$root"/boot/vmlinuz-*)" "$work/vmlinuz"
cp "$(realpath "$root"/boot/initrd.img-*)" "$work/initrd"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/usr/share/{doc,locale}
unmount "$root"
mke2fs -q -F -t ext4 -L e2e -d "$root" "$work/disk.img" 6G
rm -rf --one-file-system "$root"
rm -rf "target/e2e/cache/$machine".????????????
mv "$work" "$made"
echo "$made"
