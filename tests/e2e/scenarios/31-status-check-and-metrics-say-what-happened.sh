# The operator's three views of one plug, one hold and one unplug, and of an engine that is restarted.

count() {
    curl --silent --max-time 20 --unix-socket /run/ttyplugd/api.sock http://localhost/metrics >/run/e2e/metrics
    # All label values of a metric together.
    awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $2 } END { print sum + 0 }' /run/e2e/metrics
}
mkdir -p /run/e2e
declare -A before
metrics=(plugs_total unplugs_total hold_seconds_count plug_to_ready_seconds_count
    engine_reconnects_total)
for metric in "${metrics[@]}"; do before[$metric]=$(count "ttyplugd_$metric"); done

timeout $((300 * patience)) ttyplugd status --watch >$kept/$name.watch.txt 2>&1 &
watching=$!
start_user app /dev/zwave "${as_zwave[@]}"
within 60 "the open is held" holds app
keep held ttyplugd status
timeout $((300 * patience)) ttyplugd wait zwave --timeout 5m >$kept/$name.wait.txt 2>&1 &
waiting=$!
listen 0
plug 0 "${zwave[@]}"
within 60 "it succeeds" heard 0 said-by-app
wait $waiting || fail "ttyplugd wait ends with status $?: $(cat $kept/$name.wait.txt)"
say "ttyplugd wait has ended with 0"
within 60 "status says ready" is_ready app
keep ready ttyplugd status
keep ready-json ttyplugd status --json
expect "the schema of --json" 1 "$(ask .schema)"
keep check ttyplugd check

# finds STATUS CODE WHETHER: "check" ends with this status, and has a finding of this code or none.
finds() {
    local status=0
    timeout 60 ttyplugd check --json >/run/e2e/check || status=$?
    [ $status = "$1" ] && [ "$(jq --arg code "$2" '[.findings[] | select(.code == $code)] | length > 0' /run/e2e/check)" = "$3" ]
}
finds 0 port-held false || fail "check finds something in the way: $(cat /run/e2e/check)"
sleep 1000000 <>"/dev/$(tty_of 0)" &
holder=$!
finds 1 port-held true || fail "check does not find who has the port open: $(cat /run/e2e/check)"
see=$(jq --raw-output '[.findings[] | select(.code == "port-held") | .see][0]' /run/e2e/check)
grep -qxF "### ${see#*#}" "${see%%#*}" || fail "there is no $see"
kill $holder
wait $holder 2>/dev/null || true
finds 0 port-held false || fail "check finds somebody who has gone: $(cat /run/e2e/check)"
say "check has found who had the port open"
unplug 0
not_ready() {
    [ "$(state app)" = waiting ]
}
within 60 "status says waiting" not_ready
within 30 "--watch has shown that it was ready" grep -q ready $kept/$name.watch.txt
kill $watching
systemctl restart docker

grew() {
    [ "$(count "ttyplugd_$1")" -gt "${before[$1]}" ]
}
for metric in "${metrics[@]}"; do within 60 "$metric has grown" grew "$metric"; done
keep metrics cat /run/e2e/metrics
