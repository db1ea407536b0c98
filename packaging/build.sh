#!/bin/bash
# Builds the programs for the Debian architectures in its arguments. packaging/deb.sh runs it in the
# root of packaging/root.sh, where no network is: the sources of all crates are in target/debian/vendor.
set -euo pipefail

cd /src
export CARGO_HOME=/tmp/cargo CARGO_TARGET_DIR=/build

for arch in "$@"; do
    case $arch in
    amd64) rust=x86_64-unknown-linux-gnu gnu=x86_64-linux-gnu ;;
    arm64) rust=aarch64-unknown-linux-gnu gnu=aarch64-linux-gnu ;;
    armhf) rust=armv7-unknown-linux-gnueabihf gnu=arm-linux-gnueabihf ;;
    esac
    linker=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$rust")_LINKER
    env "$linker=$gnu-gcc" PKG_CONFIG_ALLOW_CROSS=1 "PKG_CONFIG_LIBDIR=/usr/lib/$gnu/pkgconfig" \
        cargo build --release --locked --offline --target "$rust" \
        --config 'source.crates-io.replace-with="vendored"' \
        --config 'source.vendored.directory="/src/target/debian/vendor"'
done
