# After remove only the configuration and what the daemon remembers is left, and after purge nothing.

ttyplugd runtime disable
timeout 300 apt-get -q remove -y ttyplugd
expect "the service" inactive "$(systemctl is-active ttyplugd || true)"
expect "programs" "" "$(ls /usr/bin/ttyplug* 2>/dev/null || true)"
[ -e /etc/ttyplugd/config.toml ] || fail "the configuration is to stay until purge"
timeout 300 apt-get -q purge -y ttyplugd
left=$(find / -xdev \( -path /e2e -o -path /proc -o -path /var/log -o -path /var/cache \) -prune -o -iname '*ttyplug*' -print
    find /run -iname '*ttyplug*')
expect "files that are left" "" "$left"
expect "words of it in Docker's configuration" "" "$(grep -i ttyplug /etc/docker/daemon.json 2>/dev/null || true)"
