#!/bin/bash
# Packs the random test for a machine, below target/e2e/chaos: a runner for cargo test.
#
#   tests/e2e/chaos.sh PROGRAM
#
# The test looks for its programs and scripts where cargo has built it, so they get the same place in
# the machine. The images are made here: there is no compiler there.
set -euo pipefail

root=$(realpath "$(dirname "$0")/../..")
program=$(realpath "$1")
built=${program%/deps/*}

packed=$root/target/e2e/chaos
rm -rf "$packed"
mkdir -p "$packed/e2e/images" "$packed$root/tests" "$packed$built/deps" "$packed${built%/*}/tmp"
for file in "$program" "$built"/{ttyplugd,ttyplug-runtime}; do strip -o "$packed$file" "$file"; done
cp "$root"/tests/*.sh "$packed$root/tests"
"$root/tests/images.sh" make "$packed/e2e/images"
printf '%s\n' "$root/tests/with-engine.sh" "$program" >"$packed/e2e/chaos"
