#!/bin/bash
# Makes the root file system of the image e2e/applications, unless it is there: Debian 13 with
# Python's pyserial and pyudev, of Debian, and Node's serialport, of npm, and programs that use them.
#
#   tests/e2e/applications.sh
#
# It is kept below target/e2e/cache, under a name that changes with everything that it is made of; the
# last line says where. Needs root, apt's archive and npm's.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "$here/../.."
. "$here/debian.sh"
one_at_a_time applications
packages=tests/applications
recipe=$(cat "$here"/{applications.sh,debian.sh,applications/*} $packages/package*.json | sha256sum | cut -c 1-12)
made=target/e2e/cache/applications-$recipe.tar
if [ -e "$made" ]; then
    echo "$made"
    exit 0
fi

work=$PWD/target/e2e/cache/applications.new
clean_up() {
    set +e
    unmount "$work/root"
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP
clean_up
set -e

mkdir -p "$work/app"
cp "$here"/applications/* $packages/package{,-lock}.json "$work/app"
# The package brings its native part ready made, so no script of it has to run.
(cd "$work/app" && timeout 300 npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
    --loglevel error --cache "$work/npm" >/dev/null)
bootstrap "$work/root" trixie amd64 python3-serial python3-pyudev nodejs
cp -r "$work/app" "$work/root/app"
# What no program looks at is more than a third of it.
rm -rf "$work"/root/var/{cache,lib}/{apt,dpkg} "$work"/root/usr/share/{doc,man,locale,perl}
rm -f target/e2e/cache/applications-*.tar
tar -C "$work/root" --numeric-owner --one-file-system -cf "$work/tar" .
mv "$work/tar" "$made"
echo "$made"
