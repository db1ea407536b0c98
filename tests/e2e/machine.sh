# One machine in QEMU. Sourced by run.sh, which sets
#   machine    its name: a file of machines/
#   out        where its logs are kept
#   work       a temporary directory, for what nobody wants to see later
#
#   machine_start DISK_DIRECTORY LUGGAGE    boots it, with a copy of the disk and a tar archive to unpack
#   machine_run LIMIT COMMAND...            runs COMMAND in it, for LIMIT seconds at most
#   machine_reboot                          has it reboot, and waits for it
#   machine_stop                            switches it off
#
# KVM is used where it works: it may be there and not be able to run a whole machine, so a kernel has
# to show itself within seconds.

qemu_pid=
ssh_port=

machine_fails() {
    echo "$machine: $*" >&2
    return 1
}

running() {
    [ -n "$qemu_pid" ] && kill -0 "$qemu_pid" 2>/dev/null
}

# launch ACCELERATOR...: starts QEMU, which finds a free port for ssh itself. A kernel that panics boots again:
# an emulated one may while it patches itself (seen with Linux 7).
launch() {
    : >"$out/console.log"
    "${qemu[@]}" -accel "$@" -m "$memory" -smp 2 -display none -monitor none \
        -kernel "$made/vmlinuz" -initrd "$made/initrd" \
        -append "root=LABEL=e2e rw console=$console mitigations=off panic=10" \
        -drive "file=$work/disk.img,if=none,format=raw,cache=unsafe,id=disk" \
        -device "virtio-blk-$bus,drive=disk" \
        -drive "file=$luggage,if=none,format=raw,readonly=on,id=luggage" \
        -device "virtio-blk-$bus,drive=luggage,serial=luggage" \
        -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22 \
        -device "virtio-net-$bus,netdev=net" \
        -serial "file:$out/console.log" </dev/null >"$out/qemu.log" 2>&1 &
    qemu_pid=$!
    # bash would print a line of its own when QEMU aborts.
    disown "$qemu_pid"
}

kernel_shows_itself() {
    grep -q 'Linux version' "$out/console.log"
}

# wait_for LIMIT COMMAND...: polls until COMMAND succeeds; fails at once when QEMU has ended.
wait_for() {
    local end=$((SECONDS + $1))
    until "${@:2}"; do
        running && [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

works_with_kvm() {
    [ -w /dev/kvm ] && [ "$arch" = "$(dpkg --print-architecture)" ] || return 1
    launch kvm -cpu host
    kvm_decided() {
        kernel_shows_itself || grep -q 'KVM internal error' "$out/qemu.log"
    }
    if wait_for 20 kvm_decided && kernel_shows_itself; then
        return 0
    fi
    machine_stop
    return 1
}

ssh_answers() {
    machine_run 20 true 2>/dev/null
}

boot_id() {
    machine_run 20 cat /proc/sys/kernel/random/boot_id 2>/dev/null
}

machine_start() {
    local made=$1 luggage=$2
    cp --sparse=always --reflink=auto "$made/disk.img" "$work/disk.img"
    if works_with_kvm; then
        accelerator=kvm
    else
        accelerator=tcg
        launch tcg,thread=multi
    fi
    port_known() {
        ssh_port=$(ss -Hltnp | sed -En "s/.* 127\.0\.0\.1:([0-9]+) .*pid=$qemu_pid,.*/\1/p")
        [ -n "$ssh_port" ]
    }
    wait_for 20 port_known || machine_fails "QEMU does not start: $(cat "$out/qemu.log")" || return 1
    wait_for "$boot_limit" ssh_answers ||
        machine_fails "no ssh within $boot_limit s; the end of $out/console.log: $(tail -n 5 "$out/console.log")"
}

machine_run() {
    local limit=$1
    shift
    # The key and the machine are new, and nobody else's.
    timeout --kill-after=5 "$limit" ssh -q -i "$work/key" -p "$ssh_port" \
        -o BatchMode=yes -o ConnectTimeout=15 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1 "$@" </dev/null
}

machine_reboot() {
    local before
    before=$(boot_id) || machine_fails "it does not answer" || return 1
    machine_run 30 systemctl reboot || true
    rebooted() {
        local now
        now=$(boot_id) && [ "$now" != "$before" ]
    }
    wait_for "$((boot_limit + 120))" rebooted || machine_fails "it does not come back from a reboot"
}

machine_stop() {
    running || return 0
    kill "$qemu_pid" 2>/dev/null || true
    timeout 20 tail --pid="$qemu_pid" --follow /dev/null || kill -9 "$qemu_pid" 2>/dev/null || true
    qemu_pid=
}
