#!/bin/bash
# Counts the instructions of what is done again and again, and fails where they are more than they may
# be: what has become slower is seen on a busy machine too.
#
#   tests/instructions.sh PROGRAM
#
# PROGRAM has the library's tests. A runner for cargo test.
#
# It counts with callgrind, in a program that was not optimized. The most is a tenth more than was
# counted when it was set; another compiler may be reason to set it anew.
set -euo pipefail

program=$1

# On other processors there are others.
if [ "$(uname -m)" != x86_64 ]; then
    echo "instructions: not counted on $(uname -m)"
    exit
fi

# So many are in a function, with all that it calls, when a test runs.
count() {
    local function=$1 test=$2 said
    said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "--toggle-collect=$function" \
        "$program" --exact "$test" 2>&1) || true
    if ! [[ $said == *"test result: ok. 1 passed"* && $said =~ Collected\ :\ ([1-9][0-9]*) ]]; then
        echo "instructions: $function was not counted: $said" >&2
        return 1
    fi
    echo "${BASH_REMATCH[1]}"
}

status=0
while read -r most function test; do
    counted=$(count "$function" "$test")
    verdict=ok
    [ "$counted" -le "$most" ] || verdict=FAILED status=1
    echo "instructions of $function: $counted, at most $most ... $verdict"
done <<'END'
13140000 ttyplugd::plan::assign::assign plan::assign::tests::many_containers_have_many_ports
1310000 ttyplugd::plan::plan plan::tests::many_ports_are_planned
225000 ttyplugd::keeper::open_target::find_names keeper::open_target::tests::opens_of_what_no_port_can_be_are_told_by_their_path
END
exit $status
