#!/bin/bash
# Installs what building and testing needs and this machine lacks (Debian 12, 13, Raspberry Pi OS).
#
#   tests/prerequisites.sh         to build
#   tests/prerequisites.sh lint    to lint: rustfmt and clippy
#   tests/prerequisites.sh test    to test: an engine, udevd, a busybox, Prometheus, valgrind
#   tests/prerequisites.sh applications
#                                  to test with real applications: also what tests/applications.sh
#                                  makes them with
#   tests/prerequisites.sh deny    to look at the dependencies: cargo-deny
#   tests/prerequisites.sh fuzz    to fuzz the decoders: cargo-fuzz, and a C++ compiler for libFuzzer
#   tests/prerequisites.sh deb ARCH...
#                                  to make packages: cargo-deb, and what makes a Debian 12 root and
#                                  tries out what was built there
#   tests/prerequisites.sh release to make what a release has: cargo-cyclonedx
#   tests/prerequisites.sh repository
#                                  to make an apt repository
#   tests/prerequisites.sh e2e [arm]
#                                  for the whole-machine test: QEMU, for ARM too, and what makes the
#                                  disks of its machines
#
# Says nothing when nothing is missing.
# It never starts, stops or configures an engine: dockerd is installed only where there is none.
set -euo pipefail

what=${1:-build}
architectures=("${@:2}")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin

fail() {
    echo "prerequisites: $*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null
}

case $what in
build | lint | test | applications | deny | fuzz | deb | release | repository | e2e) ;;
*) fail "unknown argument \"$what\": build, lint, test, applications, deny, fuzz, deb, release, repository or e2e" ;;
esac

missing=()
# Debian's packages of these start a service, which a test does not need.
servers=()
has cc || missing+=(gcc libc6-dev)
has make || missing+=(make)
{ [ "$what" != test ] && [ "$what" != release ]; } || has git || missing+=(git)
has pkg-config || missing+=(pkg-config)
{ has pkg-config && pkg-config --exists libudev; } || missing+=(libudev-dev)
if [ "$what" = test ] || [ "$what" = applications ]; then
    has udevadm || missing+=(udev)
    has flock || missing+=(util-linux)
    has pkill || missing+=(procps)
    has groff || missing+=(groff-base)
    /usr/bin/python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
    has curl || missing+=(curl)
    for server in prometheus prometheus-node-exporter; do has $server || servers+=($server); done
    [ -x /lib/systemd/systemd-journald ] || missing+=(systemd)
    # Debian's busybox and busybox-static exclude each other, and either will do.
    has busybox || missing+=(busybox-static)
    has dockerd || missing+=(docker.io)
    has podman || missing+=(podman)
    has crun || missing+=(crun)
    has valgrind || missing+=(valgrind)
    # A kernel with AppArmor makes the engine refuse to start containers without its parser.
    if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null || true)" = Y ]; then
        has apparmor_parser || missing+=(apparmor)
    fi
fi
if [ "$what" = applications ]; then
    has debootstrap || missing+=(debootstrap)
    has go || missing+=(golang-go)
    has npm || missing+=(npm)
fi
if [ "$what" = fuzz ]; then
    has c++ || missing+=(g++)
fi
if [ "$what" = deb ]; then
    has debootstrap || missing+=(debootstrap)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
    has readelf || missing+=(binutils)
    has lintian || missing+=(lintian)
    has systemd-analyze || missing+=(systemd)
    for arch in "${architectures[@]}"; do
        [ "$arch" = "$(dpkg --print-architecture)" ] || has qemu-arm-static || has qemu-arm ||
            missing+=(qemu-user-static)
    done
fi
if [ "$what" = test ] || [ "$what" = repository ] || [ "$what" = e2e ]; then
    has apt-ftparchive || missing+=(apt-utils)
    has gpg || missing+=(gpg)
    has gpg-agent || missing+=(gpg-agent)
fi
if [ "$what" = e2e ]; then
    has qemu-system-x86_64 || missing+=(qemu-system-x86)
    # The ROM of the network card, without which QEMU does not start.
    [ -e /usr/lib/ipxe/qemu/efi-virtio.rom ] || missing+=(ipxe-qemu)
    has debootstrap || missing+=(debootstrap)
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
    has mke2fs || missing+=(e2fsprogs)
    has ssh || missing+=(openssh-client)
    has ss || missing+=(iproute2)
    has npm || missing+=(npm)
    if [ "${2:-}" = arm ]; then
        has qemu-system-arm || missing+=(qemu-system-arm)
        has qemu-arm-static || missing+=(qemu-user-static)
    fi
fi

as_root=()
updated=
install() {
    has apt-get || fail "missing: $*, and there is no apt-get here to install it"
    if [ "$(id -u)" != 0 ]; then
        has sudo || fail "missing: $*; install it as root"
        as_root=(sudo)
    fi
    echo "prerequisites: installing $*" >&2
    [ -n "$updated" ] || "${as_root[@]}" apt-get update -q >&2
    updated=yes
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
        install -y -q --no-install-recommends "$@" >&2
}

if [ ${#missing[@]} != 0 ]; then
    install "${missing[@]}"
fi
if [ ${#servers[@]} != 0 ]; then
    install "${servers[@]}"
    "${as_root[@]}" systemctl --quiet disable "${servers[@]}" >&2
    [ ! -d /run/systemd/system ] || "${as_root[@]}" systemctl stop "${servers[@]}" >&2
fi

# The command-line client is part of docker.io up to Debian 12 and a package of its own from 13 on.
if { [ "$what" = test ] || [ "$what" = applications ]; } && ! has docker; then
    install docker-cli
fi

# gcc-multilib would bring more, and remove every cross compiler that is installed.
links_32_bit() {
    echo 'int main(void) { return 0; }' | cc -m32 -static -x c -o /dev/null - 2>/dev/null
}
if [ "$what" = applications ] && [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] && ! links_32_bit; then
    install libc6-dev-i386 "lib32gcc-$(cc -dumpversion | cut -d . -f 1)-dev"
fi

# A version such as 1.85.0 as a number, 185.
minor() {
    "$1" --version | sed -En 's/^[a-z]+ 1\.([0-9]+)\..*/1\1/p'
}

if ! has cargo; then
    fail "there is no cargo: install Rust 1.85 or newer, from https://rustup.rs or with apt-get install rustup"
fi
for tool in cargo rustc; do
    version=$(minor "$tool")
    [ "${version:-0}" -ge 185 ] || fail "$("$tool" --version) is too old: Rust 1.85 or newer is needed"
done

if [ "$what" = lint ]; then
    cargo fmt --version >/dev/null 2>&1 ||
        fail "there is no rustfmt: rustup component add rustfmt, or apt-get install rustfmt"
    cargo clippy --version >/dev/null 2>&1 ||
        fail "there is no clippy: rustup component add clippy, or apt-get install rust-clippy"
fi

if [ "$what" = deny ] && ! has cargo-deny; then
    # 0.18.3 is the last that Rust 1.85 can build, 0.19 the first that needs 1.88.
    deny=()
    [ "$(minor rustc)" -ge 188 ] || deny=(--version 0.18.3)
    echo "prerequisites: building cargo-deny, which takes some minutes" >&2
    cargo install --quiet --locked cargo-deny "${deny[@]}" >&2
fi

if [ "$what" = fuzz ] && ! has cargo-fuzz; then
    echo "prerequisites: building cargo-fuzz, which takes some minutes" >&2
    cargo install --quiet --locked cargo-fuzz --version 0.13.2 >&2
fi

if [ "$what" = deb ] && ! has cargo-deb; then
    echo "prerequisites: building cargo-deb, which takes some minutes" >&2
    cargo install --quiet --locked cargo-deb --version 3.8.0 >&2
fi

if [ "$what" = release ] && ! has cargo-cyclonedx; then
    echo "prerequisites: building cargo-cyclonedx, which takes some minutes" >&2
    cargo install --quiet --locked cargo-cyclonedx --version 0.5.9 >&2
fi
