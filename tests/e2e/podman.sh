# What all machines with Podman alone share: neither Docker nor runc is installed. Sourced by the files of
# machines/.
arch=amd64
kernel=linux-image-amd64
qemu=(qemu-system-x86_64 -machine q35)
bus=pci
console=ttyS0
engine=podman
first=podman-install
scenarios=('5?-podman-*')
