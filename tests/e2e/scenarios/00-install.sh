# The package is installed with apt, and everything that it brings is in force: the service, the
# udev rule, the journal catalog, the runtime. The images of the other scenarios are made here too.

timeout 300 apt-get -q install -y --no-install-recommends /e2e/ttyplugd_*.deb
within 60 "the service answers" answers
expect "the service" active "$(systemctl is-active ttyplugd)"
expect "the service at boot" enabled "$(systemctl is-enabled ttyplugd)"

# There is no man in the machine, to which it would leave the pages.
said=$(systemd-analyze verify --man=no ttyplugd.service 2>&1) || fail "systemd-analyze verify: $said"
expect "systemd-analyze verify says of it" "" "$(grep ttyplugd <<<"$said" || true)"
# What systemd-analyze calls exposure: 10.0 is a service without any restriction.
keep security systemd-analyze security --no-pager ttyplugd.service
exposure=$(sed -En 's/.*exposure level for ttyplugd.service: ([0-9]+)\.([0-9]).*/\1\2/p' $kept/$name.security.txt)
[ "${exposure:-100}" -le 40 ] || fail "systemd-analyze security: at most 4.0 was to be seen"
# udevadm verify came with systemd 254.
if udevadm verify --help >/dev/null 2>&1; then
    udevadm verify /usr/lib/udev/rules.d/70-ttyplugd.rules
fi

ttyplugd runtime enable
has_the_runtime() {
    docker info --format '{{json .Runtimes}}' | grep -q ttyplug
}
within 60 "the engine has the runtime ttyplug" has_the_runtime

root=$(mktemp -d)
busybox_root "$root"
tar -C "$root" -c . | timeout 120 docker import --change 'ENV PATH=/bin' - e2e/busybox >/dev/null
rm -rf "$root"

keep check ttyplugd check
keep status ttyplugd status
keep version docker version
