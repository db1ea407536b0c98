# A newer package is installed while an open is held: the daemon is restarted, another keeper takes over,
# and the application notices nothing. The newer one has the same programs, and another version.

hold_an_open
before=$(systemctl show --property MainPID --value ttyplugd)
newer=$(dpkg-query --show --showformat '${Version}' ttyplugd)+e2e$RANDOM
work=$(mktemp -d)
dpkg-deb --raw-extract /e2e/ttyplugd_*.deb "$work/package"
sed -i "s/^Version: .*/Version: $newer/" "$work/package/DEBIAN/control"
dpkg-deb --build -Znone "$work/package" "$work/ttyplugd.deb" >/dev/null
timeout 300 apt-get -q install -y --no-install-recommends "$work/ttyplugd.deb"
rm -r "$work"
expect "the installed version" "$newer" "$(dpkg-query --show --showformat '${Version}' ttyplugd)"
it_is_still_held
has_new_keeper() {
    local program
    program=$(readlink "/proc/$(pgrep -f '^/proc/self/exe --run-dir [^ ]* keeper ')/exe")
    [ "$program" = /usr/bin/ttyplug-runtime ]
}
within 60 "the keeper is the new program" has_new_keeper
it_is_still_held
now=$(systemctl show --property MainPID --value ttyplugd)
[ "$now" != "$before" ] || fail "the daemon is to be restarted by the upgrade, and is process $now as before"
it_goes_on
