# podman auto-update replaces the container of a unit by one of a newer image, which has its port at its
# first instruction.

plug 0 "${zwave[@]}"
within 60 "the stick is there" is_another_tty 0 none
unit app sh -c 'test -c /dev/zwave && cat /version; exec sleep 1000000'
before=$(podman inspect --format '{{.Id}}' app)
root=$(mktemp -d)
busybox_root "$root"
echo the-second >"$root/version"
tar -C "$root" -c . | timeout 120 podman import --change 'ENV PATH=/bin' - e2e/busybox >/dev/null
timeout 300 podman auto-update
is_another() {
    [ "$(podman inspect --format '{{.Id}}' app 2>/dev/null)" != "$before" ] && running app
}
within 120 "another container runs" is_another
within 60 "it is the new image, and had its port" logged app the-second
within 60 "the daemon says that the port is ready" is_ready app
