# Runs ttyplugd beside a journald of its own until the file STOP appears, and prints what it has
# logged, one JSON object a line:
#
#   unshare --mount sh journal.sh DIRECTORY STOP TTYPLUGD ARGUMENT...
#
# /run of this mount namespace is a new one with the host's udev in it, so that no journal in use
# hears of it. journald keeps a journal in /run/log while none has been asked for in /var
# (systemd-journald.service(8)).
set -eu
directory=$1 stop=$2
shift 2
mkdir "$directory/udev"
mount --bind /run/udev "$directory/udev"
mount -t tmpfs tmpfs /run
mkdir -p /run/udev /run/systemd/journal "/run/log/journal/$(cat /etc/machine-id)"
mount --bind "$directory/udev" /run/udev

/lib/systemd/systemd-journald >/dev/null 2>&1 &
journald=$!
trap 'kill $journald' EXIT
within() {
    tries=400
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ]
        sleep 0.05
    done
}
within [ -S /run/systemd/journal/socket ]
"$@" >/dev/null 2>&1 &
ttyplugd=$!
within [ -e "$stop" ] || true
kill $ttyplugd
wait $ttyplugd
journalctl --directory /run/log/journal --sync >/dev/null 2>&1 || true
journalctl --directory /run/log/journal --no-pager --output json SYSLOG_IDENTIFIER=ttyplugd
