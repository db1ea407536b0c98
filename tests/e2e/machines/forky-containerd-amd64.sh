# A Kubernetes node's half of what becomes Debian 14: systemd 262, cgroup v2, containerd 2.1 with CRI,
# runc 1.3, and no Docker.
suite=forky
arch=amd64
kernel=linux-image-amd64
packages=(containerd)
qemu=(qemu-system-x86_64 -machine q35)
bus=pci
console=ttyS0
engine=containerd
first=containerd-install
scenarios=('[67]?-containerd-*')
