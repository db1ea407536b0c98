# Whatever takes an OCI runtime can have its containers served: here ctr(8), which has made two of one name
# in two namespaces of containerd. Each has the port of its own annotation, and is forgotten at its end.

run_in() {
    local namespace=$1
    import_busybox
    ctr run --detach --null-io --runc-binary /usr/bin/ttyplug-runtime \
        --annotation "ttyplugd.port.meter.match=serial=$1" --annotation ttyplugd.port.meter.node=/dev/meter \
        --annotation ttyplugd.port.meter.hold=30m "$image" same sh -c "$uses_port" "$1" /dev/meter
}
end_in() {
    local namespace=$1
    ctr tasks kill --signal SIGKILL same
}
# shows NAMESPACE STATE
shows() {
    [ "$(ask '.ports[] | select(.container == "same" and .engine == $e) | .state' --arg e "containerd/$1")" = "$2" ]
}
holds_in() {
    [ "$(ask '[.held[] | select(.engine == $e)] | length' --arg e "containerd/$1")" = 1 ]
}

run_in one
run_in two
within 60 "both opens are held" both holds_in one two
keep status ttyplugd status
listen 0
plug 0 1a86 7523 one
within 60 "the stick hears the one" heard 0 said-by-one
within 60 "status says that it is ready" shows one ready
within 20 "and that the other waits" shows two waiting
end_in one
within 60 "the one is forgotten" shows one ""
holds_in two || fail "the open of the other is to be held on"
end_in two
within 60 "and so is the other" shows two ""
for namespace in one two; do ctr containers delete same; done
unset namespace
