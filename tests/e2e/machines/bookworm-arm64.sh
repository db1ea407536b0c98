# Debian 12 on a 64-bit ARM board: systemd 252, Docker 20.10.
suite=bookworm
arch=arm64
kernel=linux-image-arm64
packages=(docker.io)
qemu=(qemu-system-aarch64 -machine virt -cpu cortex-a57)
bus=pci
console=ttyAMA0
. "$here/arm.sh"
