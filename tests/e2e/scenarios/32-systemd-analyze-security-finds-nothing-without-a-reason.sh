# What systemd-analyze says against the unit is in the unit, with its reason.

unit=/usr/lib/systemd/system/ttyplugd.service
keep security systemd-analyze security --no-pager ttyplugd.service
systemd-analyze security --no-pager --json=short ttyplugd.service |
    jq -r '.[] | select(.exposure != null) | .name' >/tmp/open

# reasoned WORD: a comment of the unit has it.
reasoned() {
    grep -q -- "^#.*$1" $unit
}

while read -r point; do
    case $point in
    CapabilityBoundingSet=*) continue ;; # below, one by one
    SystemCallFilter=~*) reason=${point#*~} ;;
    *) reason=${point%%=*}= ;;
    esac
    reasoned "$reason" || fail "the unit does not say why it leaves $point open"
    say "the unit says why: $point"
done </tmp/open
for capability in $(systemctl show -P CapabilityBoundingSet ttyplugd.service); do
    reasoned "${capability^^} " || fail "the unit does not say what it needs ${capability^^} for"
    say "the unit says why: ${capability^^}"
done

exposure=$(systemd-analyze security --no-pager ttyplugd.service | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
say "exposure $exposure"
awk "BEGIN { exit !($exposure < 4.5) }" || fail "the exposure is $exposure, and was below 4.5"
