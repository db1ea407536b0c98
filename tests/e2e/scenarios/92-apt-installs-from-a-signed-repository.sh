# apt installs the package from the repository of make apt-repository, whose key it is told, and from no
# repository that another key has signed.

if [ -e /usr/bin/ttyplugd ]; then
    ttyplugd runtime disable
    timeout 300 apt-get -q purge -y ttyplugd
fi
sources=/etc/apt/sources.list.d/ttyplugd.sources
mkdir -p /etc/apt/keyrings
cp /e2e/apt/ttyplugd.asc /etc/apt/keyrings/
# believe KEYRING: the repository, signed by a key of this file.
believe() {
    printf '%s\n' "Types: deb" "URIs: file:/e2e/apt" "Suites: stable" "Components: main" "Signed-By: $1" >$sources
}
# The machine has no network, and its lists of Debian's packages stay.
update() {
    timeout 300 apt-get -q update -o Dir::Etc::SourceList=$sources -o Dir::Etc::SourceParts=- \
        -o APT::Get::List-Cleanup=0
}

believe /usr/share/keyrings/debian-archive-keyring.gpg
if update; then fail "a repository that Debian's keys have not signed is to be rejected"; fi
believe /etc/apt/keyrings/ttyplugd.asc
update
timeout 300 apt-get -q install -y --no-install-recommends ttyplugd
within 60 "the service answers" answers
grep -q 'file:/e2e/apt stable/main' <<<"$(apt-cache policy ttyplugd)" || fail "it is to come from the repository"

timeout 300 apt-get -q purge -y ttyplugd
rm $sources /etc/apt/keyrings/ttyplugd.asc
