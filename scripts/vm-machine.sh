# The machine of the machine tests: booted once with each of two guards, frozen, and thawed for each test.
# shellcheck shell=bash disable=SC2154

# Frozen and thawed, the machine must be the same one.
vm_machine=(-nodefaults -no-user-config -display none -machine q35 -accel "tcg,thread=multi" -cpu max)
# All tests disks are of one size, because the frozen machine knows it. One with Kata Containers on it is large, and machines within the
# machine have panicked with more than one processor.
if [ -n "${CLOSEDPAW_KATA_DIR:-}" ]; then
    vm_machine+=(-smp 1 -m 4G)
    vm_tests_disk=6G
else
    vm_machine+=(-smp 2 -m 2G)
    vm_tests_disk=256M
fi

# What a guest may boot with: the kernel has one of the two at a time.
declare -A vm_guards=([selinux]="security=selinux enforcing=1" [apparmor]="security=apparmor apparmor=1")

# vm_emulate FOLDER DISK TESTS-DISK CONTROL CONSOLE [WORDS…]: becomes the emulator, with these two as the host's ends of the
# control port and of the console.
vm_emulate() {
    local folder=$1 disk=$2 tests=$3 control=$4 console=$5
    shift 5
    exec qemu-system-x86_64 "${vm_machine[@]}" \
        -kernel "$vm_image/kernel" -initrd "$vm_image/initrd" -append "$vm_kernel_words ${vm_guards[$vm_guard]}" \
        -drive "if=none,id=root,file=$disk,format=qcow2,cache=unsafe" -device virtio-blk-pci,drive=root \
        -drive "if=none,id=tests,file=$tests,format=raw,readonly=on" -device virtio-blk-pci,drive=tests \
        -device virtio-rng-pci -device virtio-serial-pci \
        -chardev "$control,id=control" -device virtserialport,chardev=control,name=closedpaw.control \
        -chardev "file,id=log,path=$folder/log" -device virtserialport,chardev=log,name=closedpaw.log \
        -chardev "file,id=artifacts,path=$folder/artifacts.tar" -device virtserialport,chardev=artifacts,name=closedpaw.artifacts \
        -chardev "$console,id=console" -serial chardev:console -pidfile "$folder/pid" "$@" 2>"$folder/emulator"
}

# vm_start FOLDER DISK TESTS-DISK [WORDS…]: starts it; $vm_in and $vm_out are the control port, $vm_pid is the emulator.
vm_start() {
    local folder=$1 disk=$2 tests=$3
    shift 3
    coproc vm { vm_emulate "$folder" "$disk" "$tests" stdio,signal=off "file,path=$folder/console" "$@"; }
    # Bash unsets its own names for these when the emulator ends.
    # shellcheck disable=SC2154
    vm_pid=$vm_PID vm_in=${vm[1]} vm_out=${vm[0]}
}

# vm_said WORD SECONDS: waits for a line of the control port that begins so, and sets $vm_line.
vm_said() {
    local end=$((SECONDS + $2)) left
    while left=$((end - SECONDS)) && [ "$left" -gt 0 ]; do
        if read -r -t "$left" vm_line <&"$vm_out"; then
            vm_line=${vm_line%$'\r'}
            case "$vm_line" in "$1"*) return 0 ;; esac
        elif ! kill -0 "$vm_pid" 2>/dev/null; then
            return 1
        fi
    done
    return 1
}

vm_stop() {
    kill "$vm_pid" 2>/dev/null || true
    wait "$vm_pid" 2>/dev/null || true
}

# need_vm_frozen GUARD: sets $vm_frozen to the folder with the machine that was frozen with it: its disk so far and its memory.
need_vm_frozen() {
    local key
    vm_guard=$1
    key=$({ vm_digest scripts/vm-machine.sh; echo "$vm_image $vm_kernel_words ${vm_machine[*]} $vm_tests_disk"; qemu-system-x86_64 --version; } | sha256sum | cut -c1-16)
    vm_frozen=$cache/vm/frozen-$vm_guard-$key
    [ ! -e "$vm_frozen/complete" ] || return 0
    say "booting the guest once with $vm_guard: a minute or two; from then on every test thaws it"
    rm -rf "$cache/vm/frozen-$vm_guard"-*
    mkdir -p "$vm_frozen"
    step "guest: boot and freeze" vm_freeze
    touch "$vm_frozen/complete"
}

vm_freeze() {
    qemu-img create -q -f qcow2 -F qcow2 -b "$vm_image/root.qcow2" "$vm_frozen/root.qcow2"
    truncate -s "$vm_tests_disk" "$vm_frozen/empty"
    mkfifo "$vm_frozen/monitor.in" "$vm_frozen/monitor.out"
    # Held open both ways, so that neither side waits for the other to open.
    local monitor answers
    exec {monitor}<>"$vm_frozen/monitor.in" {answers}<>"$vm_frozen/monitor.out"
    vm_start "$vm_frozen" "$vm_frozen/root.qcow2" "$vm_frozen/empty" \
        -chardev "pipe,id=monitor,path=$vm_frozen/monitor" -mon chardev=monitor
    vm_said READY 600 || { vm_stop; tail -20 "$vm_frozen/console" >&2; die "the guest did not start; see $vm_frozen/console"; }
    printf 'migrate "exec:cat >%s"\ninfo migrate\nquit\n' "$vm_frozen/memory" >&"$monitor"
    wait "$vm_pid" || true
    exec {monitor}>&- {answers}>&-
    rm -f "$vm_frozen"/monitor.{in,out}
    [ -s "$vm_frozen/memory" ] || die "the guest could not be frozen; see $vm_frozen/emulator"
}

# vm_thaw FOLDER TESTS-DISK: the frozen machine goes on, with this tests disk, on a disk of its own.
vm_thaw() {
    qemu-img create -q -f qcow2 -F qcow2 -b "$vm_frozen/root.qcow2" "$1/root.qcow2"
    vm_start "$1" "$1/root.qcow2" "$2" -incoming "exec:cat $vm_frozen/memory"
}

# vm_run FOLDER TESTS-DISK SECONDS: thaws it and has it run what the disk holds; its status, or 125 if it never said one.
vm_run() {
    local folder=$1 limit=$3 status=125 size=0 tries=50
    vm_thaw "$folder" "$2"
    echo "RUN $(date +%s) $limit" >&"$vm_in"
    # The machine's own clock may run behind this one's where the emulator is kept waiting.
    if vm_said RESULT $((2 * limit + 120)); then
        read -r _ status size <<<"$vm_line"
        # The artifacts are on another port, and may come a moment later.
        until [ "$(stat -c %s "$folder/artifacts.tar")" -ge "$size" ] || [ "$((tries -= 1))" = 0 ]; do sleep 0.1; done
    fi
    vm_stop
    rm -f "$folder/root.qcow2"
    mkdir -p "$folder/artifacts"
    tar -C "$folder/artifacts" -xf "$folder/artifacts.tar" 2>/dev/null || true
    rm -f "$folder/artifacts.tar"
    return "$status"
}

# vm_terminal FOLDER TESTS-DISK: thaws it with its console at this terminal, until what the disk holds is over.
vm_terminal() {
    local folder=$1 control answers
    qemu-img create -q -f qcow2 -F qcow2 -b "$vm_frozen/root.qcow2" "$folder/root.qcow2"
    mkfifo "$folder/control.in" "$folder/control.out"
    exec {control}<>"$folder/control.in" {answers}<>"$folder/control.out"
    echo "RUN $(date +%s) 86400" >&"$control"
    (
        until read -r word _ && [ "$word" = RESULT ]; do :; done <&"$answers"
        kill "$(cat "$folder/pid")"
    ) &
    (vm_emulate "$folder" "$folder/root.qcow2" "$2" "pipe,path=$folder/control" stdio,signal=off -incoming "exec:cat $vm_frozen/memory") || true
}
