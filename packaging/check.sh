#!/bin/bash
# Checks the contents of a Debian package, with the systemd of this machine:
#
#   packaging/check.sh ROOT DEB     ROOT has the libraries of the package's architecture
#
# qemu-user runs programs of other architectures. The script needs no privileges and does not
# install the package; packaging/lifecycle.sh does.
set -euo pipefail

root=$1
deb=$2
# The glibc in Depends:. Debian 12, Debian 13 and Raspberry Pi OS have 2.36 or newer.
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
    # Since Debian 13 the static program has the name without -static.
    "$(command -v qemu-$cpu-static || command -v qemu-$cpu)" -L "$root" "$@"
}

# Compares the libraries and the newest glibc symbol that a program needs with Depends:.
check_dependencies() {
    local program=$1 needed newest
    needed=$(readelf --dynamic "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort)
    for library in $needed; do
        [[ " $libraries " = *" $library "* ]] || fail "$program needs $library, which is not in Depends:"
    done
    newest=$(readelf --version-info --wide "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
    [ "$(printf 'GLIBC_%s\n%s\n' $glibc "$newest" | sort -V | tail -n 1)" = GLIBC_$glibc ] ||
        fail "$program needs $newest, which is newer than $glibc"
}

# armhf is ARMv7. The armhf of Raspbian is ARMv6, for the first generation of the Raspberry Pi.
check_architecture() {
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
    [ "$code" = "$wanted" ] || fail "$* exits with $code instead of $wanted: $(cat "$dir/output")"
}

check_programs() {
    local bin=$dir/usr/bin
    exits_with 0 "$bin/ttyplugd" --version
    exits_with 0 "$bin/ttyplugd" ports
    echo 'no-such-key = 1' >"$dir/bad.toml"
    exits_with 2 "$bin/ttyplugd" check --config "$dir/bad.toml"
    grep -q "bad.toml:1: unknown key" "$dir/output" || fail "check: $(cat "$dir/output")"
    exits_with 0 "$bin/ttyplugd" completions bash
    exits_with 0 "$bin/ttyplug-runtime" --runtime /bin/true features
}

# systemd-analyze requires that the program in ExecStart= exists.
check_unit() {
    local unit=$dir/ttyplugd.service page
    sed "s|=/usr/bin/|=$dir/usr/bin/|" "$dir/usr/lib/systemd/system/ttyplugd.service" >"$unit"
    systemd-analyze verify --man=no "$unit" >"$dir/output" 2>&1 || true
    [ ! -s "$dir/output" ] || fail "systemd-analyze verify: $(cat "$dir/output")"
    systemd-analyze security --offline=yes --threshold=40 "$unit" >"$dir/output" ||
        fail "systemd-analyze security: $(tail -n 1 "$dir/output")"
    sed -n 's/^Documentation=//p' "$unit" | tr ' ' '\n' | sed 's/^man:\(.*\)(\(.\))$/man\2\/\1.\2.gz/' |
        while read -r page; do
            [ -e "$dir/usr/share/man/$page" ] || fail "$page, named by Documentation=, is missing"
        done
}

# udevadm verify exists since systemd 254.
check_rules() {
    udevadm verify --help >/dev/null 2>&1 || return 0
    udevadm verify "$dir"/usr/lib/udev/rules.d/*.rules >"$dir/output" 2>&1 ||
        fail "udevadm verify: $(cat "$dir/output")"
}

dpkg-deb --extract "$deb" "$dir"
for program in "$dir"/usr/bin/*; do
    check_architecture "$program"
    check_dependencies "$program"
done
check_programs
check_unit
check_rules
lintian --allow-root --fail-on error,warning "$deb" || fail "lintian"
