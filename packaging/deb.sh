#!/bin/bash
# Builds and checks the Debian packages target/debian/ttyplugd_VERSION_ARCH.deb:
#
#   packaging/deb.sh ARCH...        amd64, arm64, armhf (ARMv7, armv7l in uname -m)
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
out=target/debian
# For reproducible packages.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

rust_target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    armhf) echo armv7-unknown-linux-gnueabihf ;;
    *)
        echo "deb: unknown architecture \"$1\": expected amd64, arm64 or armhf" >&2
        return 2
        ;;
    esac
}

# Downloads the sources of all crates if Cargo.lock has changed, because the build has no network.
vendor() {
    local lock
    lock=$(sha256sum <Cargo.lock)
    [ "$(cat $out/vendor.lock 2>/dev/null || true)" != "$lock" ] || return 0
    rm -rf $out/vendor
    cargo vendor --quiet --locked --versioned-dirs $out/vendor >/dev/null
    echo "$lock" >$out/vendor.lock
}

field() {
    sed -n "s/^$1 = \"\(.*\)\"$/\1/p" Cargo.toml
}

# Debian requires a changelog in its own format (deb-changelog(5)). It refers to CHANGELOG.md.
changelog() {
    printf 'ttyplugd (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * See /usr/share/doc/ttyplugd/CHANGELOG.md.\n\n'
    printf ' -- %s  %s\n' "$(field maintainer)" "$(date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")"
}

# The notices that the licences of the crates require. For MIT or Apache-2.0, MIT is used.
notices() {
    local crate version licence texts
    echo "ttyplugd contains these Rust crates."
    cargo tree --locked --edges normal --prefix none --format '{p} {l}' \
        --target x86_64-unknown-linux-gnu | sed '1d; s/ (proc-macro)//; s/ (\*)$//' | sort -u |
        while read -r crate version licence; do
            printf '\n%s %s: %s\n\n' "$crate" "${version#v}" "$licence"
            texts=$(find "$out/vendor/$crate-${version#v}" -maxdepth 1 -iname 'license*mit*')
            [ -n "$texts" ] || texts=$(find "$out/vendor/$crate-${version#v}" -maxdepth 1 -type f \
                \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
            [ -z "$texts" ] || xargs -d '\n' cat <<<"$texts" | sed 's/^/    /; s/[[:space:]]*$//'
        done
}

: "${1:?usage: packaging/deb.sh ARCH...}"
targets=()
for arch in "$@"; do
    targets+=(--target "$(rust_target "$arch")")
done
mkdir -p $out/build
vendor
notices | gzip -9n >$out/crates.txt.gz
packaging/root.sh make $out/root "$@" >$out/root.log 2>&1 || {
    echo "deb: cannot create the Debian 12 root; the end of $out/root.log:" >&2
    tail -n 20 $out/root.log >&2
    exit 1
}
packaging/root.sh enter $out/root /src/packaging/build.sh "${targets[@]}"

version=$(field version)
changelog >$out/changelog
for arch in "$@"; do
    deb=$out/ttyplugd_${version}_$arch.deb
    CARGO_TARGET_DIR=$out/build cargo deb --quiet --no-build --no-strip \
        --target "$(rust_target "$arch")" --output "$deb"
    packaging/check.sh $out/root "$deb"
    [ "$arch" != "$(dpkg --print-architecture)" ] || packaging/lifecycle.sh $out/root "$deb"
    echo "$deb"
done
