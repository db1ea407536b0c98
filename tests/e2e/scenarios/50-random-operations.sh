# The random test (make chaos), which has an engine and a udevd of its own here too: on cgroup v2, and
# with the engine, the kernel and the udevd of this machine.

mapfile -t test </e2e/chaos
systemctl stop ttyplugd docker.socket docker
export TTYPLUGD_TEST_IMAGES=/e2e/images TTYPLUGD_TEST_SECONDS=$chaos_seconds
# No limit is short enough for a processor that is emulated.
export TTYPLUGD_TEST_PATIENCE=20
"${test[@]}" --ignored --nocapture --exact chaos::random_operations || {
    cp "${test[1]%/debug/*}/chaos/journal.txt" "$kept/$name.journal.txt"
    fail "something was not as it must be"
}
systemctl start docker ttyplugd
within 60 "the daemon answers" answers
