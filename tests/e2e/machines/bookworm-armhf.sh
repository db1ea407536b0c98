# Debian 12 on a 32-bit ARM board, what "uname -m" calls armv7l: systemd 252, Docker 20.10.
suite=bookworm
arch=armhf
kernel=linux-image-armmp
packages=(docker.io)
qemu=(qemu-system-arm -machine virt -cpu cortex-a15)
bus=device
console=ttyAMA0
. "$here/arm.sh"
