# The package is installed with apt beside Podman alone: the service, the runtime and the socket are found
# without a word of configuration. The image of the other scenarios is made here too.

expect "Docker's programs" "" "$(command -v docker dockerd runc || true)"
timeout 300 apt-get -q install -y --no-install-recommends /e2e/ttyplugd_*.deb
within 60 "the service answers" answers
systemctl enable --quiet --now podman.socket
ttyplugd runtime enable
expect "Podman's program of the runtime" /usr/bin/ttyplug-runtime \
    "$(podman --runtime ttyplug info --format '{{.Host.OCIRuntime.Path}}')"
keep runtime ttyplugd runtime status
grep -q '^behind   crun version' $kept/$name.runtime.txt || fail "the real runtime is to be crun"

root=$(mktemp -d)
busybox_root "$root"
tar -C "$root" -c . | timeout 120 podman import --change 'ENV PATH=/bin' - e2e/busybox >/dev/null
rm -rf "$root"

keep version podman version
keep status ttyplugd status
keep check ttyplugd check || true
