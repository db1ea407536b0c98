#!/bin/bash
# Makes everything that a release has, in target/release-VERSION:
#
#   packaging/release.sh check VERSION      says all that keeps this commit from being VERSION
#   packaging/release.sh make VERSION DEB...
#
#   ttyplugd-VERSION.tar.gz                 the sources, the same bytes whoever makes them
#   ttyplugd_VERSION_ARCH.deb               the packages
#   ttyplugd-VERSION.cdx.json               the bill of materials, in the format of CycloneDX
#   NOTES.md                                the section of CHANGELOG.md
#   SHA256SUMS
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

found=
wrong() {
    echo "release: $*" >&2
    found=yes
}

fail() {
    wrong "$@"
    exit 1
}

# The section of CHANGELOG.md below a heading that begins so, without the heading.
section() {
    awk -v heading="## $1" '/^## / { here = index($0, heading) == 1; next } here' CHANGELOG.md |
        sed '/./,$!d'
}

check_commit() {
    local tagged
    [ -z "$(git status --porcelain)" ] || wrong "there are changes that are not committed (git status)"
    tagged=$(git rev-parse --quiet --verify "v$version^{commit}") || return 0
    [ "$tagged" = "$(git rev-parse HEAD)" ] || wrong "the tag v$version is on another commit"
}

check_versions() {
    local file
    grep -qx "version = \"$version\"" <(sed '/^$/q' Cargo.toml) ||
        wrong "Cargo.toml has another version"
    for file in Cargo.lock fuzz/Cargo.lock; do
        grep -A 1 '^name = "ttyplugd"$' $file | grep -qx "version = \"$version\"" ||
            wrong "$file has another version: run cargo check there"
    done
}

check_changelog() {
    grep -qE "^## ${version//./\\.} - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
        wrong "CHANGELOG.md has no heading \"## $version - YYYY-MM-DD\""
    grep -q '^- ' <(section "$version - ") || wrong "CHANGELOG.md says nothing of $version"
    ! grep -q . <(section Unreleased) || wrong "CHANGELOG.md has changes that are still unreleased"
}

# A page that was changed has a new date (mdoc(7), Dd).
check_pages() {
    local page dated changed
    for page in man/*; do
        dated=$(date --utc --date "$(sed -n 's/^\.Dd //p' "$page")" +%F)
        changed=$(TZ=UTC git log -1 --date=short-local --format=%cd -- "$page")
        [[ ! $dated < $changed ]] || wrong "$page is of $dated and was changed on $changed"
    done
}

check() {
    [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "which version? VERSION=1.2.3"
    check_commit
    check_versions
    check_changelog
    check_pages
    [ -z "$found" ] || exit 1
}

# Neither the user's configuration of git nor the clock counts (git-archive(1), gzip(1)).
sources() {
    git -c tar.umask=0022 archive --format=tar --prefix="$name/" HEAD | gzip -9n
}

packages() {
    local deb
    for deb; do
        [ "$(dpkg-deb --field "$deb" Version)" = "$version" ] || fail "$deb is of another version"
        cp "$deb" "$new"
    done
}

# Made from the unpacked sources, which therefore are complete.
bill_of_materials() {
    local work missing
    work=$(mktemp -d -t ttyplugd-release.XXXXXX)
    tar -C "$work" -xf "$new/$name.tar.gz"
    (cd "$work/$name" && cargo cyclonedx --quiet --format json --spec-version 1.5 \
        --target x86_64-unknown-linux-gnu --override-filename "$name.cdx")
    sed "s|$work||g" "$work/$name/$name.cdx.json" >"$new/$name.cdx.json"
    rm -rf "$work"
    missing=$(cargo tree --locked --edges normal --prefix none --target x86_64-unknown-linux-gnu |
        sed -n '2,$s/^\([^ ]*\) v\([^ ]*\).*/\1@\2/p' | sort -u |
        while read -r crate; do grep -qF "pkg:cargo/$crate\"" "$new/$name.cdx.json" || echo "$crate"; done)
    [ -z "$missing" ] || fail "the bill of materials lacks $missing"
}

make_release() {
    local out=target/release-$version
    [ $# != 0 ] || fail "there is no package: run make deb"
    new=$out.new
    trap 'rm -rf "$new"' EXIT
    rm -rf "$new"
    mkdir -p "$new"
    sources >"$new/$name.tar.gz"
    (umask 077 && TZ=Asia/Tokyo sources) | cmp - "$new/$name.tar.gz" || fail "the sources differ each time"
    packages "$@"
    bill_of_materials
    section "$version - " >"$new/NOTES.md"
    (cd "$new" && sha256sum -- *.tar.gz *.deb *.json NOTES.md >SHA256SUMS)
    rm -rf "$out"
    mv "$new" "$out"
    ls -1 "$out"/*
}

command=${1:-}
version=${2:-}
name=ttyplugd-$version
shift $(($# < 2 ? $# : 2))
check
case $command in
check) ;;
make) make_release "$@" ;;
*) fail "unknown command \"$command\": expected check or make" ;;
esac
