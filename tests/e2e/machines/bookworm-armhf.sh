# Debian 12 on a 32-bit ARM board, what "uname -m" calls armv7l: systemd 252, Docker 20.10. It is slow
# even where KVM works, so it shows what depends on the processor and leaves the rest to others.
suite=bookworm
arch=armhf
kernel=linux-image-armmp
packages=(docker.io)
qemu=(qemu-system-arm -machine virt -cpu cortex-a15)
bus=device
console=ttyAMA0
memory=1536
boot_limit=1500
patience=4
scenarios=(the-first-open-is-held reboot-with-a-plugged-stick
    unplugged-while-open-and-back-under-another-number)
