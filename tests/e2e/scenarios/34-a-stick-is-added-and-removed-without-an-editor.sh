# A stick that is plugged in becomes a port of a running container, without an editor and without a
# restart: its application finds the port, and both talk. Then it is undone.

plug 0 "${zwave[@]}"
within 60 "the stick is there" is_another_tty 0 none
listen 0
start app -- sh -c 'until [ -c /dev/zwave ]; do sleep 0.2; done; exec sh -c "$0" app /dev/zwave' "$uses_port"
arguments=(zwave --device "$(tty_of 0)" --container app)
dry=$(setpriv --reuid nobody --regid nogroup --clear-groups ttyplugd add "${arguments[@]}" --dry-run) ||
    fail "the dry run ends with status $?"
absent /etc/ttyplugd/conf.d/zwave.toml || fail "the dry run has written its file"
ttyplugd add "${arguments[@]}" || fail "add ends with status $?"
expect "the file" "$dry" "$(cat /etc/ttyplugd/conf.d/zwave.toml)"
is_ready app || fail "add has not waited until the port is ready"
within 60 "the stick hears the application" heard 0 said-by-app
echo said-by-the-stick >"$(peer 0)"
within 60 "and the application hears the stick" logged app said-by-the-stick
keep check ttyplugd check

ttyplugd remove zwave || fail "remove ends with status $?"
absent /etc/ttyplugd/conf.d/zwave.toml || fail "its file is there still"
within 60 "the container has lost the port" absent "$(root_of app)/dev/zwave"
