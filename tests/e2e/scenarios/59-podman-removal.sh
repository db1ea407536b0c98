# A container whose runtime is gone never starts again, so the package does not go before it. When it goes,
# Podman's configuration is as it was.

start app -- sleep 1000000
podman stop --time 0 app >/dev/null
if said=$(timeout 300 apt-get -q remove -y ttyplugd 2>&1); then
    fail "the package is to stay while a stopped container uses its runtime: $said"
fi
grep -qw app <<<"$said" || fail "the container is to be named: $said"
within 60 "the service still answers" answers
timeout 120 podman start app >/dev/null

say "by force it goes all the same, and what is installed again serves the container"
TTYPLUGD_FORCE_REMOVE=1 timeout 300 apt-get -q remove -y ttyplugd
expect "programs" "" "$(ls /usr/bin/ttyplug* 2>/dev/null || true)"
running app || fail "the container was to be left alone"
if podman stop --time 0 app >/dev/null 2>&1; then fail "Podman is to miss its runtime"; fi
timeout 300 apt-get -q install -y --no-install-recommends /e2e/ttyplugd_*.deb
ttyplugd runtime enable
timeout 120 podman stop --time 0 app >/dev/null
timeout 120 podman start app >/dev/null

remove app
timeout 300 apt-get -q remove -y ttyplugd
[ -e /etc/ttyplugd/config.toml ] || fail "the configuration is to stay until purge"
timeout 300 apt-get -q purge -y ttyplugd
left=$(find / -xdev \( -path /e2e -o -path /proc -o -path /var/log -o -path /var/cache \) -prune -o -iname '*ttyplug*' -print
    find /run -iname '*ttyplug*')
expect "files that are left" "" "$left"
expect "words of it in Podman's configuration" "" "$(grep -ri ttyplug /etc/containers || true)"
timeout 120 podman run --rm --network none "$image" true
