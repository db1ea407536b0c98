#!/bin/bash
# Checks what is in a Debian package, with what this machine has of systemd:
#
#   packaging/check.sh ROOT DEB     ROOT has the libraries of the package's architecture
#
# The programs of another architecture are run by qemu-user. It needs no privileges and installs
# nothing; packaging/lifecycle.sh does.
set -euo pipefail

root=$1
deb=$2
# The oldest glibc of Debian 12, 13 and Raspberry Pi OS is 2.36; this is what we say we need.
glibc=2.34
libraries="libc.so.6 libgcc_s.so.1 libudev.so.1"

dir=$(mktemp -d -t ttyplugd-deb.XXXXXX)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "check: $deb: $*" >&2
    exit 1
}

arch=$(dpkg-deb --field "$deb" Architecture)
run() {
    local cpu
    case $arch in
    "$(dpkg --print-architecture)")
        "$@"
        return
        ;;
    amd64) cpu=x86_64 ;;
    arm64) cpu=aarch64 ;;
    armhf) cpu=arm ;;
    esac
    # From Debian 13 on it is static under its own name.
    "$(command -v qemu-$cpu-static || command -v qemu-$cpu)" -L "$root" "$@"
}

# What a program needs is in its dynamic section, and the newest glibc among its version needs.
links_to_what_we_depend_on() {
    local program=$1 needed newest
    needed=$(readelf --dynamic "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort)
    for library in $needed; do
        [[ " $libraries " = *" $library "* ]] || fail "$program needs $library, which Depends: lacks"
    done
    newest=$(readelf --version-info --wide "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
    [ "$(printf 'GLIBC_%s\n%s\n' $glibc "$newest" | sort -V | tail -n 1)" = GLIBC_$glibc ] ||
        fail "$program needs $newest, and $glibc is the newest that it may"
}

# A Pi of the first generation is Debian's armel or Raspbian's own armhf, and cannot run this one.
is_of_its_architecture() {
    case $arch in
    amd64) readelf --file-header "$1" | grep -q 'Machine: *Advanced Micro Devices X86-64' ;;
    arm64) readelf --file-header "$1" | grep -q 'Machine: *AArch64' ;;
    armhf) readelf --arch-specific "$1" | grep -q 'Tag_CPU_arch: v7' ;;
    esac || fail "$1 is not for $arch"
}

exits_with() {
    local wanted=$1 code=0
    shift
    run "$@" >"$dir/output" 2>&1 || code=$?
    [ "$code" = "$wanted" ] || fail "$* exits with $code and not $wanted: $(cat "$dir/output")"
}

programs_run() {
    local bin=$dir/usr/bin
    exits_with 0 "$bin/ttyplugd" --version
    exits_with 0 "$bin/ttyplugd" ports
    echo 'no-such-key = 1' >"$dir/bad.toml"
    exits_with 2 "$bin/ttyplugd" check --config "$dir/bad.toml"
    grep -q "bad.toml:1: unknown key" "$dir/output" || fail "check: $(cat "$dir/output")"
    exits_with 0 "$bin/ttyplugd" completions bash
    exits_with 0 "$bin/ttyplug-runtime" --runtime /bin/true features
}

# systemd-analyze looks for the program in ExecStart= where the unit says.
unit_is_right() {
    local unit=$dir/ttyplugd.service page
    sed "s|=/usr/bin/|=$dir/usr/bin/|" "$dir/usr/lib/systemd/system/ttyplugd.service" >"$unit"
    systemd-analyze verify --man=no "$unit" >"$dir/output" 2>&1 || true
    [ ! -s "$dir/output" ] || fail "systemd-analyze verify: $(cat "$dir/output")"
    systemd-analyze security --offline=yes --threshold=40 "$unit" >"$dir/output" ||
        fail "systemd-analyze security: $(tail -n 1 "$dir/output")"
    sed -n 's/^Documentation=//p' "$unit" | tr ' ' '\n' | sed 's/^man:\(.*\)(\(.\))$/man\2\/\1.\2.gz/' |
        while read -r page; do
            [ -e "$dir/usr/share/man/$page" ] || fail "there is no $page for Documentation="
        done
}

# From systemd 254 on.
rules_are_right() {
    udevadm verify --help >/dev/null 2>&1 || return 0
    udevadm verify "$dir"/usr/lib/udev/rules.d/*.rules >"$dir/output" 2>&1 ||
        fail "udevadm verify: $(cat "$dir/output")"
}

dpkg-deb --extract "$deb" "$dir"
for program in "$dir"/usr/bin/*; do
    is_of_its_architecture "$program"
    links_to_what_we_depend_on "$program"
done
programs_run
unit_is_right
rules_are_right
lintian --allow-root --fail-on error,warning "$deb" || fail "lintian"
