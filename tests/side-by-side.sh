#!/bin/bash
# Runs the tests of a test program side by side, in lanes of tests/with-engine.sh:
#
#   tests/side-by-side.sh PROGRAM [ARGUMENT...]
#
# The ARGUMENTs say which tests, in PROGRAM's own words. A runner for cargo test.
set -euo pipefail

here=$(dirname "$(realpath "$0")")

lanes=3
# What a container may do to lead us astray is tried against each way of making nodes.
each_way='^with_engine::(hostile|in_the_way|foreign)::'
# Those that want the machine for themselves come last.
alone='::(a_watcher_is_told_of_every_change_and_sleeps_in_between|what_the_host_hears_from_udevd_it_does_not_hear_again)$'

# In each lane: runs the next test that nobody has taken, in a process of its own.
if [ "$1" = --lane ]; then
    results=$2 program=$3
    exec 8>"$results/lock"
    while read -r name way; do
        test="$name${way:+ ($way)}"
        mkdir "$results/$test" 2>/dev/null || continue
        if [[ $name =~ $alone ]]; then flock 8; else flock --shared 8; fi
        began=${EPOCHREALTIME/[.,]/}
        verdict=FAILED
        log=$results/$test/log
        if env ${way:+TTYPLUGD_TEST_INJECT=$way} "$program" --exact "$name" >"$log" 2>&1 8>&- &&
            grep -q '^test result: ok. 1 passed' "$log"; then
            verdict=ok
        fi
        took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
        flock --unlock 8
        echo "$test" >>"$results/$verdict"
        echo "test $test ... $verdict ($((took / 1000)).$(printf %03d $((took % 1000))) s)"
        [ $verdict = ok ] || cat "$log"
    done <"$results/tests"
    exit
fi

results=$(mktemp -d -t ttyplugd-results.XXXXXX)
trap 'rm -rf "$results"' EXIT
names=$("$@" --list --format terse | sed -n 's/: test$//p')
{
    grep -Ev "$alone" <<<"$names" || true
    grep -E "$each_way" <<<"$names" | sed 's/$/ namespace/' || true
    grep -E "$alone" <<<"$names" || true
} >"$results/tests"
touch "$results"/{ok,FAILED}

ended=0
"$here/with-engine.sh" --lanes $lanes "$0" --lane "$results" "$1" </dev/null &
engine=$!
trap 'kill $engine' INT TERM HUP
wait $engine || ended=$?
# A signal has not ended it yet.
wait $engine 2>/dev/null || true
passed=$(wc -l <"$results/ok")
failed=$(wc -l <"$results/FAILED")
missed=$(($(wc -l <"$results/tests") - passed - failed))
if [ $failed = 0 ] && [ $missed = 0 ] && [ $ended = 0 ]; then
    echo "test result: ok. $passed passed; 0 failed"
else
    printf '\nfailures:\n'
    sed 's/^/    /' "$results/FAILED"
    [ $missed = 0 ] || echo "$missed were not run"
    echo "test result: FAILED. $passed passed; $failed failed"
    exit 1
fi
