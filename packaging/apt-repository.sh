#!/bin/bash
# Makes a signed apt repository of Debian packages: a directory for any web server.
#
#   packaging/apt-repository.sh KEY DIRECTORY DEB...
#
# gpg has the secret key KEY (a fingerprint or an address; GNUPGHOME counts). The repository has the
# suite "stable" with the component "main", and in ttyplugd.asc the public key for Signed-By:. A
# repository that is there already is replaced once the new one is complete.
set -euo pipefail

fail() {
    echo "apt-repository: $*" >&2
    exit 1
}

[ $# -ge 2 ] || fail "usage: packaging/apt-repository.sh KEY DIRECTORY DEB..."
key=$1
directory=$(realpath -m "$2")
shift 2
[ -n "$key" ] || fail "which key? KEY=FINGERPRINT names a secret key of gpg"
[ -e "${1:-}" ] || fail "there is no package: run make deb"
for tool in apt-ftparchive gpg; do
    command -v $tool >/dev/null || fail "there is no $tool: run tests/prerequisites.sh repository"
done
gpg --batch --quiet --list-secret-keys "$key" >/dev/null 2>&1 || fail "gpg has no secret key \"$key\""

new=$directory.new
trap 'rm -rf "$new"' EXIT
rm -rf "$new"
mkdir -p "$new/pool/main"
cp -- "$@" "$new/pool/main/"
architectures=$(for deb; do dpkg-deb --field "$deb" Architecture; done | sort -u)

cd "$new"
for arch in $architectures; do
    index=dists/stable/main/binary-$arch
    mkdir -p $index
    apt-ftparchive --arch "$arch" packages pool >$index/Packages
    gzip -9nk $index/Packages
done
# Written elsewhere first, because it would list itself.
apt-ftparchive \
    -o APT::FTPArchive::Release::Origin=ttyplugd \
    -o APT::FTPArchive::Release::Label=ttyplugd \
    -o APT::FTPArchive::Release::Suite=stable \
    -o APT::FTPArchive::Release::Codename=stable \
    -o APT::FTPArchive::Release::Components=main \
    -o APT::FTPArchive::Release::Architectures="${architectures//$'\n'/ }" \
    -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false \
    release dists/stable >Release
gpg --batch --quiet --local-user "$key" --digest-algo SHA512 \
    --output dists/stable/InRelease --clear-sign Release
rm Release
gpg --batch --quiet --armor --export "$key" >ttyplugd.asc

rm -rf "$directory"
mv "$new" "$directory"
trap - EXIT
echo "$directory"
