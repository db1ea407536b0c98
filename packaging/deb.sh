#!/bin/bash
# Makes the Debian packages, target/debian/ttyplugd_VERSION_ARCH.deb, and checks them:
#
#   packaging/deb.sh ARCH...        amd64, arm64, armhf (ARMv7, which a Pi calls armv7l)
#
# With DEB_VERSION= in the environment the packages have another version than the programs in them,
# which is how an upgrade is tried out.
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
out=target/debian

rust_target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    armhf) echo armv7-unknown-linux-gnueabihf ;;
    *)
        echo "deb: no package is built for \"$1\": amd64, arm64 or armhf" >&2
        return 2
        ;;
    esac
}

# The sources of all crates, once per lock file: no cargo in the root has to download anything.
vendor() {
    local lock
    lock=$(sha256sum <Cargo.lock)
    [ "$(cat $out/vendor.lock 2>/dev/null || true)" != "$lock" ] || return 0
    rm -rf $out/vendor
    cargo vendor --quiet --locked --versioned-dirs $out/vendor >/dev/null
    echo "$lock" >$out/vendor.lock
}

# Debian wants a changelog of its own form, deb-changelog(5). What is new stands in CHANGELOG.md.
changelog() {
    local version=$1 date
    date=$(date --utc --rfc-email --date "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
    printf 'ttyplugd (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * See /usr/share/doc/ttyplugd/CHANGELOG.md.\n\n'
    printf ' -- %s  %s\n' "$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)" "$date"
}

for arch in "$@"; do
    rust_target "$arch" >/dev/null
done
mkdir -p $out/build
vendor
packaging/root.sh make $out/root "$@"
packaging/root.sh enter $out/root /src/packaging/build.sh "$@"

version=${DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
changelog "$version" >$out/changelog
for arch in "$@"; do
    deb=$out/ttyplugd_${version}_$arch.deb
    CARGO_TARGET_DIR=$out/build cargo deb --quiet --no-build --no-strip \
        --target "$(rust_target "$arch")" --deb-version "$version" --output "$deb"
    echo "$deb"
done
