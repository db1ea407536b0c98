# What happens is in the journal, with a field for everything that one would look for and a catalog
# text that says what to do.

start_user app /dev/zwave "${as_zwave[@]}"
within 60 "the open is held" holds app
listen 0
plug 0 "${zwave[@]}"
within 60 "it succeeds" heard 0 said-by-app
unplug 0
root=$(root_of app)
within 60 "the node is gone" absent "$root/dev/zwave"

within 30 "a node was made" journal CONTAINER_NAME=app ACTION=make CONTAINER_PATH=/dev/zwave
within 30 "a node was removed" journal CONTAINER_NAME=app ACTION=remove CONTAINER_PATH=/dev/zwave
within 30 "an open was held" journal ACTION=hold
within 30 "an open was released" journal ACTION=release
made=$(journalctl --quiet --no-pager --since "@$began" -o json ACTION=make CONTAINER_PATH=/dev/zwave | tail -n 1)
for field in MESSAGE_ID SERIAL_DEVICE DEVICE_NUMBER PORT CONTAINER_NAME CONTAINER_ID CONTAINER_PATH LATENCY_MS; do
    value=$(jq -r ".$field // empty" <<<"$made")
    [ -n "$value" ] || fail "the line of the made node has no field $field: $made"
    say "$field=$value"
done

# Every kind of line that the program has, and every one that it has written, has a text.
keep explained journalctl --no-pager --since "@$began" -x -t ttyplugd -t ttyplug-runtime
for id in $(journalctl --quiet --no-pager -o json -t ttyplugd -t ttyplug-runtime | jq -r '.MESSAGE_ID // empty' | sort -u); do
    journalctl --quiet --dump-catalog "$id" >/dev/null 2>&1 || fail "the catalog has no text for MESSAGE_ID=$id"
    say "the catalog explains $id"
done
