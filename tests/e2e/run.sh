#!/bin/bash
# The whole-machine test: a machine with systemd, Docker and USB in QEMU, the package installed in it
# with apt, and the scenarios of scenarios/ run one after the other.
#
#   tests/e2e/run.sh [--machine MACHINE] [SCENARIO...]
#
# MACHINE is a file of machines/, trixie-amd64 unless another is named. SCENARIO is a file of
# scenarios/, with or without its number; without any all that the machine is meant for are run: those
# from 51 to 59 are about Podman and those from 60 to 79 about containerd, both without Docker, all
# others about Docker.
# Installing comes first always. Prints a line per scenario and what came out last; everything else
# is kept below target/e2e/MACHINE.
#
# In the machine a scenario that needs a reboot ends with status 64, and is called again after it.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "$here/../.."

if [ "$(id -u)" != 0 ]; then
    exec sudo "$here/run.sh" "$@"
fi

machine=trixie-amd64
names=()
while [ $# != 0 ]; do
    case $1 in
    --machine)
        machine=${2:?which machine?}
        shift
        ;;
    *) names+=("$1") ;;
    esac
    shift
done
if [ ! -e "$here/machines/$machine.sh" ]; then
    echo "run: there is no machine \"$machine\"; there are $(cd "$here/machines" && echo *.sh)" >&2
    exit 2
fi
# What a machine may leave out.
memory=2048
boot_limit=600
patience=1
reboots=3
engine=docker
first=install
scenarios=('[0-4]?-*' '50-*' '9?-*')
. "$here/machines/$machine.sh"

# all SCENARIO...: the files of these names, each once and in their own order.
all() {
    local name file found=()
    for name; do
        file=$(cd "$here/scenarios" && ls -- $name.sh [0-9][0-9]-$name.sh 2>/dev/null) || true
        [ -n "$file" ] || {
            echo "run: there is no scenario \"$name\" in tests/e2e/scenarios" >&2
            return 2
        }
        found+=($file)
    done
    printf '%s\n' "${found[@]%.sh}" | sort -u
}
if [ ${#names[@]} = 0 ]; then
    names=("${scenarios[@]}")
fi
chosen=$(all "$first" "${names[@]}")

deb=$(ls -t target/debian/ttyplugd_*_"$arch".deb 2>/dev/null | head -n 1)
if [ -z "$deb" ]; then
    echo "run: there is no package: make deb ARCHS=$arch" >&2
    exit 1
fi
cri=target/cri/debug/cri
if [ "$engine" = containerd ] && [ ! -e $cri ]; then
    echo "run: there is no CRI client: make e2e-engines" >&2
    exit 1
fi
random_test=
if grep -q '^50-' <<<"$chosen"; then
    random_test=target/e2e/chaos
    [ -e $random_test ] || {
        echo "run: the random test is not packed: make e2e" >&2
        exit 1
    }
fi

out=target/e2e/$machine
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d -t ttyplugd-e2e.XXXXXX)
. "$here/machine.sh"
clean_up() {
    set +e
    trap '' INT TERM HUP
    jobs -p | xargs -r kill
    machine_stop
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

began=$SECONDS
made=$("$here/build.sh" "$machine" | tail -n 1)
applications=
if [ "$arch" = amd64 ] && grep -qE '^(15|18)-' <<<"$chosen"; then
    applications=$("$here/applications.sh" | tail -n 1)
fi
echo "made  the machine $machine ($((SECONDS - began))s)"

# What travels with the machine: the way in, the scenarios and what they need, the package.
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
luggage=$work/luggage
install -D -m 600 "$work/key.pub" "$luggage/root/.ssh/authorized_keys"
mkdir -p "$luggage/e2e"
cp -r "$here"/{lib.sh,engines,gadget,scenario,scenarios} "$luggage/e2e"
cp "$deb" "$luggage/e2e/"
# A repository with it, signed with a key of this run.
export GNUPGHOME=$work/gpg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key e2e@ttyplugd.example ed25519 sign never
packaging/apt-repository.sh e2e@ttyplugd.example "$luggage/e2e/apt" "$deb" >/dev/null
gpgconf --kill all
[ -z "$applications" ] || cp "$applications" "$luggage/e2e/applications.tar"
[ -z "$random_test" ] || cp -r $random_test/. "$luggage"
if [ "$engine" = containerd ]; then
    strip -o "$luggage/e2e/cri" "$cri"
    cp -r examples/kubernetes "$luggage/e2e"
fi
printf '%s\n' "patience=$patience" "engine=$engine" "reboots=${TTYPLUGD_TEST_REBOOTS:-$reboots}" \
    "random_seconds=${TTYPLUGD_TEST_SECONDS:-300}" "random_seed=${TTYPLUGD_TEST_SEED:-}" >"$luggage/e2e/settings"
tar -C "$luggage" --owner=0 --group=0 -cf "$work/luggage.tar" .

began=$SECONDS
machine_start "$made" "$work/luggage.tar"
echo "boot  $accelerator ($((SECONDS - began))s)"

# play SCENARIO: calls it until it neither asks for a reboot nor for anything else.
play() {
    local stage=1 status limit=$((patience * 900))
    while true; do
        status=0
        machine_run "$limit" "timeout --kill-after=20 $((limit - 60)) /e2e/scenario $1 $stage" || status=$?
        [ "$status" = 64 ] || return "$status"
        machine_reboot || return 1
        stage=$((stage + 1))
    done
}

passed=0
failed=0
for scenario in $chosen; do
    began=$SECONDS
    # In the background, because bash heeds no signal while it waits for a command in front.
    play "$scenario" >"$out/$scenario.log" 2>&1 &
    if wait $!; then
        passed=$((passed + 1))
        echo "ok    $scenario ($((SECONDS - began))s)"
    else
        failed=$((failed + 1))
        echo "FAILED $scenario ($((SECONDS - began))s): $(tail -n 1 "$out/$scenario.log"), $out/$scenario.log"
        running || break
    fi
done

machine_run 120 journalctl --no-pager -o short-precise >"$out/journal.txt" 2>&1 || true
machine_run 60 tar -C /e2e/kept -c . | tar -C "$out" -x || true
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
