# containerd is restarted, and systemd reads its units again: pods live on, and so do holds and rights.

hold_an_open
systemctl restart containerd
within 60 "containerd answers by CRI" cri version
it_is_still_held
it_goes_on
within 60 "status says ready" is_ready app
systemctl restart containerd
systemctl daemon-reload
within 60 "containerd answers by CRI" cri version
can_open app /dev/zwave || fail "the port can no longer be opened"
own=c:$(stat -c '%Hr:%Lr' "/dev/$(tty_of 0)")
unplug 0
within 60 "its number cannot be opened any more" is_revoked app
