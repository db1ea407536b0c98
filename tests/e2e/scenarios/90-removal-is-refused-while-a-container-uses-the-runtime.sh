# A container whose runtime is gone never starts again, so the package does not go before it.

start app -- sleep 1000000
docker stop --time 0 app >/dev/null
if said=$(timeout 300 apt-get -q remove -y ttyplugd 2>&1); then
    fail "the package is to stay while a stopped container uses its runtime: $said"
fi
grep -qw app <<<"$said" || fail "the container is to be named: $said"
say "apt-get remove: $(grep -w app <<<"$said" | head -n 1)"
if said=$(ttyplugd runtime disable 2>&1); then
    fail "\"runtime disable\" is to be refused: $said"
fi
grep -qw app <<<"$said" || fail "the container is to be named: $said"
# dpkg has stopped nothing, and the container starts.
within 60 "the service still answers" answers
timeout 120 docker start app >/dev/null

say "by force it goes all the same, and what is installed again serves the container"
TTYPLUGD_FORCE_REMOVE=1 timeout 300 apt-get -q remove -y ttyplugd
expect "programs" "" "$(ls /usr/bin/ttyplug* 2>/dev/null || true)"
running app || fail "the container was to be left alone"
docker stop --time 0 app >/dev/null
if docker start app >/dev/null 2>&1; then fail "it is to miss its runtime"; fi
timeout 300 apt-get -q install -y --no-install-recommends /e2e/ttyplugd_*.deb
ttyplugd runtime enable
starts() {
    timeout 120 docker start app >/dev/null 2>&1
}
within 60 "the container starts again" starts
