# The example less-privileges.conf: with it, and what it says for the configuration, the daemon has
# three capabilities, and ports come and go in a container whose definition gives it the right.

drop_in=/etc/systemd/system/ttyplugd.service.d/less-privileges.conf
mkdir -p "${drop_in%/*}" /etc/ttyplugd/conf.d
cp /usr/share/doc/ttyplugd/examples/less-privileges.conf "$drop_in"
printf '%s\n' 'inject = "exec"' 'grant = "off"' 'announce = false' >/etc/ttyplugd/conf.d/e2e.toml
systemctl daemon-reload
systemctl restart ttyplugd
within 60 "the daemon answers" answers

# CAP_DAC_READ_SEARCH, CAP_KILL and CAP_SYS_PTRACE are 2, 5 and 19 (linux/capability.h).
expect "its capabilities" "$(printf '%016x' $((1 << 2 | 1 << 5 | 1 << 19)))" \
    "$(awk '/^CapEff/ { print $2 }' "/proc/$(systemctl show --property MainPID --value ttyplugd)/status")"
keep security systemd-analyze security --no-pager ttyplugd.service

start_user app /dev/zwave "${as_zwave[@]}" --device-cgroup-rule 'c 166:* rw'
within 60 "the open is held" holds app
listen 0
it_goes_on
within 60 "status says ready" is_ready app
root=$(root_of app)
unplug 0
within 60 "the node is gone" absent "$root/dev/zwave"
plug 0 "${zwave[@]}"
within 60 "the node is there again" is_node "$root/dev/zwave" ttyACM0
can_open app /dev/zwave || fail "it cannot open its port"
journal -p warning -u ttyplugd && fail "$(journalctl -u ttyplugd -p warning --since "@$began")"

rm -r /etc/ttyplugd/conf.d "${drop_in%/*}"
systemctl daemon-reload
systemctl restart ttyplugd
within 60 "the daemon answers" answers
