# The package goes, from a machine that has no Docker whose runtimes it could ask.

rm /etc/containerd/conf.d/ttyplug.toml /etc/ttyplugd/conf.d/engines.toml
systemctl restart containerd
timeout 300 apt-get -q remove -y ttyplugd
expect "the service" inactive "$(systemctl is-active ttyplugd || true)"
expect "programs" "" "$(ls /usr/bin/ttyplug* 2>/dev/null || true)"
timeout 300 apt-get -q purge -y ttyplugd
left=$(find / -xdev \( -path /e2e -o -path /proc -o -path /var/log -o -path /var/cache \) -prune -o -iname '*ttyplug*' -print
    find /run -iname '*ttyplug*')
expect "files that are left" "" "$left"
