#!/bin/bash
# Makes FILE, the root file system of the image ttyplugd-test/applications: Debian, of the release that
# this machine has, with real programs that open serial ports.
#
#   tests/applications.sh FILE
#
#   /app/serial_port.py       with pyserial, of Debian
#   /app/serial_port.js       with the Node package serialport, of npm
#   /app/serial_port          a static Go program
#   /app/serial_port_i386     a static 32-bit program, on x86-64 only
set -euo pipefail

here=$(dirname "$(realpath "$0")")
made=$(realpath "$1")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ "$(id -u)" != 0 ]; then
    exec sudo env PATH="$PATH" ${TMPDIR:+TMPDIR="$TMPDIR"} "$0" "$made"
fi
for tool in debootstrap npm go cc; do
    command -v $tool >/dev/null || {
        echo "applications: there is no $tool: run tests/prerequisites.sh applications" >&2
        exit 1
    }
done

work=$(mktemp -d -t ttyplugd-applications.XXXXXX)
bootstrap=
clean_up() {
    set +e
    if [ -n "$bootstrap" ] && kill "$bootstrap" 2>/dev/null; then wait "$bootstrap"; fi
    grep -oE " $work/[^ ]+" /proc/self/mountinfo | sort -ru | xargs -r umount --lazy
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP

# Where apt has this release from. Raspberry Pi OS has it from Debian too, or from Raspbian.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
found=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' "Created-By: Packages" \
    "Codename: $codename" "Component: main" | grep -E '^(Debian|Raspbian) ' | head -n 1)
if [ -z "$found" ]; then
    echo "applications: apt has no packages of $codename: run apt-get update" >&2
    exit 1
fi
mirror=${found#* }
case $mirror in
mirror+file:*)
    # The file has a mirror a line, the best one first (apt-transport-mirror(1)).
    mirror=$(sed -En '/^[a-z]+:/{s/[[:space:]].*//;p;q}' "${mirror#mirror+file:}")
    ;;
esac
keyring=()
if [ "${found%% *}" = Raspbian ]; then
    keyring=(--keyring=/usr/share/keyrings/raspbian-archive-keyring.gpg)
fi
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "$proxy" ] || export http_proxy=$proxy

# /tmp may forget what devices and root's programs are (Debian 13 mounts it nodev and nosuid).
mkdir "$work/root"
mount --bind "$work/root" "$work/root"
mount -o remount,bind,dev,suid,exec "$work/root"

# The others are made while this one waits for the network.
timeout 900 debootstrap --variant=minbase --include=python3-serial,nodejs "${keyring[@]}" \
    "$codename" "$work/root" "$mirror" >"$work/debootstrap.log" 2>&1 &
bootstrap=$!

app=$work/app
mkdir "$app"
cp "$here"/applications/{package.json,package-lock.json,serial_port.py,serial_port.js} "$app"
# The package brings its native part ready made, so no script of it has to run.
(cd "$app" && timeout 300 npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier \
    --loglevel error --cache "$work/npm" >/dev/null)
(cd "$work" && HOME=$work GOCACHE=$work/go GO111MODULE=off GOTOOLCHAIN=local CGO_ENABLED=0 \
    timeout 300 go build -o "$app/serial_port" "$here/applications/serial_port.go")
if [ "$(dpkg --print-architecture)" = amd64 ]; then
    # Debian has the headers of both kinds in the place of one of them.
    cc -m32 -O1 -Wall -static -idirafter /usr/include/x86_64-linux-gnu \
        -o "$app/serial_port_i386" "$here/applications/serial_port_i386.c"
fi

if ! wait "$bootstrap"; then
    bootstrap=
    echo "applications: debootstrap fails; the end of its log:" >&2
    tail -n 20 "$work/debootstrap.log" >&2
    exit 1
fi
bootstrap=
mv "$app" "$work/root/app"
# What no program looks at would be more than a third of the image.
rm -rf "$work"/{npm,go} "$work"/root/var/{cache,lib}/apt "$work"/root/usr/share/{doc,man,locale}
tar -C "$work/root" --numeric-owner --one-file-system -cf "$work/made.tar" .
mv "$work/made.tar" "$made"
