# Debian 13 on a PC: systemd 257, cgroup v2, Docker 26.1 with compose, runc 1.1.
suite=trixie
arch=amd64
kernel=linux-image-amd64
packages=(docker.io docker-cli docker-compose crun)
qemu=(qemu-system-x86_64 -machine q35)
bus=pci
console=ttyS0
