#!/bin/bash
# Builds the programs with the cargo options --target TRIPLE... packaging/deb.sh runs this script in
# the root of packaging/root.sh. It needs no network: target/debian/vendor has the sources of
# all crates.
set -euo pipefail

cd /src
export CARGO_HOME=/tmp/cargo CARGO_TARGET_DIR=/build

# The same variables for every build: cargo rebuilds everything if the linker has changed.
export PKG_CONFIG_ALLOW_CROSS=1
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
export PKG_CONFIG_LIBDIR_x86_64_unknown_linux_gnu=/usr/lib/x86_64-linux-gnu/pkgconfig
export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=/usr/lib/aarch64-linux-gnu/pkgconfig
export PKG_CONFIG_LIBDIR_armv7_unknown_linux_gnueabihf=/usr/lib/arm-linux-gnueabihf/pkgconfig

exec cargo build --release --locked --offline "$@" \
    --config 'source.crates-io.replace-with="vendored"' \
    --config 'source.vendored.directory="/src/target/debian/vendor"'
