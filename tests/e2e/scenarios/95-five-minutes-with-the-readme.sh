# A machine that has never had ttyplugd, and the commands of the README's first section as they stand
# there: from the package to a stick that a container uses, in less than five minutes.

[ ! -e /usr/bin/ttyplugd ] || fail "it is installed already"
since=$SECONDS

step() {
    say "\$ $* ($((SECONDS - since)) s)"
    "$@" || fail "$* ends with status $?"
}

cp /e2e/ttyplugd_*.deb /root/
cd /root
step apt-get -q install -y --no-install-recommends ./ttyplugd_*_"$(dpkg --print-architecture)".deb
step ttyplugd runtime enable
# The application opens its port at once, before the stick is there.
step docker run -d --name readme --network none --runtime ttyplug --label ttyplugd.enable=true \
    e2e/busybox sh -c "$uses_port" readme /dev/ttyACM0
listen 0
plug 0 "${zwave[@]}"
within 60 "the stick hears the application" heard 0 said-by-readme
echo said-by-the-stick >"$(peer 0)"
within 60 "and the application hears the stick" logged readme said-by-the-stick
keep status ttyplugd status
step ttyplugd check
took=$((SECONDS - since))
say "from the package to a working stick: $took s"
[ $took -lt $((300 * patience)) ] || fail "that is more than five minutes"
