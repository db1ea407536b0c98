# Debian 12 on a PC: systemd 252, cgroup v2, Docker 20.10, runc 1.1.
suite=bookworm
arch=amd64
kernel=linux-image-amd64
packages=(docker.io crun)
qemu=(qemu-system-x86_64 -machine q35)
bus=pci
console=ttyS0
