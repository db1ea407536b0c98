# The 32-bit programs of Debian 13 on a 64-bit kernel, as Raspberry Pi OS of 2025 has them on a Pi that
# was installed with 32 bits: systemd 257, Docker 26.1.
suite=trixie
arch=armhf
kernel=linux-image-arm64:arm64
packages=(docker.io docker-cli)
qemu=(qemu-system-aarch64 -machine virt -cpu cortex-a57)
bus=pci
console=ttyAMA0
. "$here/arm.sh"
