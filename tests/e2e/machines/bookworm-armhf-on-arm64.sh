# The 32-bit programs of Debian 12 on a 64-bit kernel, as many a Raspberry Pi runs them: systemd 252,
# Docker 20.10.
suite=bookworm
arch=armhf
kernel=linux-image-arm64:arm64
packages=(docker.io)
qemu=(qemu-system-aarch64 -machine virt -cpu cortex-a57)
bus=pci
console=ttyAMA0
. "$here/arm.sh"
