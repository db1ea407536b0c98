# Two sticks of one kind with one serial number, as cheap ones have: only the socket tells them apart.
# Each container has the stick of its own socket, in whatever order they are plugged in.

same=(1a86 7523 0001)
for n in 0 1; do
    start_user "app$n" /dev/meter --label "ttyplugd.port.meter.match=by-path=*dummy_hcd.$n-*" \
        --label ttyplugd.port.meter.node=/dev/meter --label ttyplugd.port.meter.hold=30m
    listen $n
done
within 60 "both opens are held" both holds app0 app1
plug 1 "${same[@]}"
within 90 "the second socket's stick hears its own application" heard 1 said-by-app1
plug 0 "${same[@]}"
within 90 "the first socket's stick hears its own application" heard 0 said-by-app0
expect "what else each has heard" "" "$(grep -hv said-by-app0 /run/e2e/peer.0; grep -hv said-by-app1 /run/e2e/peer.1)"
keep ports ttyplugd ports
for n in 0 1; do
    is_node "$(root_of app$n)/dev/meter" "$(tty_of $n)" || fail "app$n: expected $(tty_of $n) at /dev/meter"
done
