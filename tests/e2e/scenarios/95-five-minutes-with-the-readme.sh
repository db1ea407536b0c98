# A machine without ttyplugd, and the commands of the README's first section as they stand there: from
# the package to a stick that a container uses, in less than five minutes.

if [ -e /usr/bin/ttyplugd ]; then
    ttyplugd runtime disable
    timeout 300 apt-get -q purge -y ttyplugd
fi
# What stands for the application of the README opens its port at once, before the stick is there.
docker create --name application e2e/busybox sh -c "$uses_port" readme /dev/ttyACM0 >/dev/null
docker commit application zwavejs/zwave-js-ui >/dev/null
docker rm application >/dev/null
cp /e2e/ttyplugd_*.deb /root/
cd /root
since=$SECONDS

step() {
    say "\$ $* ($((SECONDS - since)) s)"
    "$@" || fail "$* ends with status $?"
}

step apt-get -q install -y --no-install-recommends ./ttyplugd_*_"$(dpkg --print-architecture)".deb
step ttyplugd runtime enable
if docker compose version >/dev/null 2>&1; then
    application=zwave-zwave-js-ui-1
    mkdir -p zwave
    awk '/^## Five minutes/ { here = 1 } here && /^```$/ && block { exit } block { print }
        here && /^```yaml$/ { block = 1 }' /usr/share/doc/ttyplugd/README.md >zwave/compose.yaml
    cat zwave/compose.yaml
    cd zwave
    step docker compose up -d
else
    application=zwave
    step docker run -d --name zwave --runtime ttyplug --label ttyplugd.enable=true zwavejs/zwave-js-ui
fi
listen 0
say "plugs the stick in ($((SECONDS - since)) s)"
plug 0 "${zwave[@]}"
within 60 "the stick hears the application" heard 0 said-by-readme
echo said-by-the-stick >"$(peer 0)"
within 60 "and the application hears the stick" logged $application said-by-the-stick
keep status ttyplugd status
step ttyplugd check
took=$((SECONDS - since))
say "from the package to a working stick: $took s"
[ $took -lt $((300 * patience)) ] || fail "that is more than five minutes"

read -ra add < <(sed -n 's/^sudo \(ttyplugd add .*\)/\1/p' /usr/share/doc/ttyplugd/README.md)
# Without compose the container has no project and service.
[ $application != zwave ] || add[-1]=zwave
step "${add[@]}"
within 10 "the container has /dev/zwave" test -c "$(root_of $application)/dev/zwave"
step ttyplugd remove zwave
