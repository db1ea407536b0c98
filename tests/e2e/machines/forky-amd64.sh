# What becomes Debian 14 on a PC: systemd 262, cgroup v2, Docker 28.5 with compose, runc 1.3, crun 1.28.
suite=forky
arch=amd64
kernel=linux-image-amd64
packages=(docker.io docker-cli docker-compose crun)
qemu=(qemu-system-x86_64 -machine q35)
bus=pci
console=ttyS0
