# What is done to containers every day: each has its port at its first instruction after it, and what is
# removed is forgotten.

plug 0 "${zwave[@]}"
there='test -c /dev/zwave && stty -F /dev/zwave >/dev/null && echo there || echo missing; exec sleep 1000000'
start app "${as_zwave[@]}" -- sh -c "$there"
within 60 "the port is there at the first start" logged app there
within 60 "the daemon says that it is ready" is_ready app
timeout 120 podman restart --time 0 app >/dev/null
has_said_twice() {
    [ "$(logs_of app | grep -c there)" = 2 ]
}
within 60 "and after a restart" has_said_twice
expect "what it has missed" "" "$(logs_of app | grep missing || true)"
within 60 "the daemon says that it is ready" is_ready app

before=$(podman inspect --format '{{.Id}}' app)
start app --replace "${as_zwave[@]}" -- sh -c "$there"
[ "$(podman inspect --format '{{.Id}}' app)" != "$before" ] || fail "it is to be another one"
within 60 "the port is there in the one that has replaced it" logged app there
within 60 "the daemon says that it is ready" is_ready app
podman rename app other
within 60 "it is known by its new name" is_ready other

timeout 120 podman stop --time 0 other >/dev/null
is_not_ready() {
    [ "$(state other)" != ready ]
}
within 60 "the daemon knows that it has stopped" is_not_ready
podman rm other >/dev/null
is_forgotten() {
    [ -z "$(state other)" ]
}
within 60 "and that it was removed" is_forgotten
expect "keepers that are left" "" "$(pgrep -f 'ttyplug-runtime.* keeper' || true)"
