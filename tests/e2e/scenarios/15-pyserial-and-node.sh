# Real applications: pyserial and the Node package serialport open the port before the stick is
# there, once, and then bytes go both ways.

with_applications

for program in "python3 talk.py" "node talk.js"; do
    language=${program%% *}
    start "$language" "${as_zwave[@]}" -- $program /dev/zwave
    within 120 "$language: its open is held" holds "$language"
    listen 0
    plug 0 "${zwave[@]}"
    within 120 "$language: the stick hears it" heard 0 "hello from $language"
    echo "hello from the stick" >"$(peer 0)"
    within 120 "$language: it hears the stick" logged "$language" "heard hello from the stick"
    keep "$language" docker logs "$language"
    unplug 0
    docker rm --force "$language" >/dev/null
done
