# The random test (make chaos), which has an engine and a udevd of its own here too: on cgroup v2, and
# with the engine, the kernel and the udevd of this machine.

mapfile -t test </e2e/chaos
systemctl stop ttyplugd docker.socket docker
export TTYPLUGD_TEST_IMAGES=/e2e/images TTYPLUGD_TEST_SECONDS=$random_seconds TTYPLUGD_TEST_SEED=$random_seed
# No limit is short enough for a processor that is emulated.
export TTYPLUGD_TEST_PATIENCE=20
target=${test[1]%/debug/*}
differs=
"${test[@]}" --ignored --nocapture --exact chaos::random_operations || differs=yes
[ -z "$differs" ] || cp -r "$target/chaos" "$kept/$name"
# Nothing of it is left when others look for files with our name.
rm -rf "${test[0]%/*}" "$target"
rmdir --parents --ignore-fail-on-non-empty "${test[0]%/tests/*}" "${target%/*}" 2>/dev/null || true
[ -z "$differs" ] || fail "something was not as it must be"
systemctl start docker ttyplugd
within 60 "the daemon answers" answers
