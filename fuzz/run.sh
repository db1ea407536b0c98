#!/bin/bash
# Runs fuzz targets for so many seconds each, all of them unless some are named:
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# A run begins with the inputs in corpus/ and what earlier ones have found, in target/corpus/. It ends
# at the first input that fails, which is kept in artifacts/.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:?for how many seconds each?}
targets=("${@:2}")
[ ${#targets[@]} != 0 ] || mapfile -t targets < <(cargo fuzz list)

# Sanitizers need a nightly compiler, and are for unsafe code. A decoder that takes too long fails by
# the processor time that it uses; the time limit of libFuzzer is for one that never ends.
cargo fuzz build --sanitizer none
for target in "${targets[@]}"; do
    echo "fuzz: $target for $seconds s"
    mkdir -p "target/corpus/$target"
    cargo fuzz run --sanitizer none "$target" "target/corpus/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=60 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0
done
