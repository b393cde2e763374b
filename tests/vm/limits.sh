#!/bin/bash
# A sandbox's limits are the kernel's to keep: read back from its cgroup, and reached without harm to anybody.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
profile default gvisor 512MiB 300 'seconds = 600' 'io = "2MiB"'
profile slow gvisor 512MiB 300 'seconds = 20' 'io = "64KiB"'
sed -i 's/"pids"]/"pids", "io"]/' /etc/closedpaw/profiles.d/slow.toml
profile free gvisor 512MiB 300 'seconds = 250'
allow_program sleep "*"
sleeper alice
cgroup=$(sandbox_cgroups)
same "one sandbox, one cgroup" "$(grep -c . <<<"$cgroup")" 1
same "memory.max" "$(cat "$cgroup/memory.max")" $((512 << 20))
same "memory.swap.max" "$(cat "$cgroup/memory.swap.max" 2>/dev/null || echo 0)" 0
same "pids.max" "$(cat "$cgroup/pids.max")" 300
same "cpu.max" "$(cat "$cgroup/cpu.max")" "150000 100000"
same "io.max" "$(cat "$cgroup/io.max")" "$(disk_of /usr) rbps=2097152 wbps=2097152 riops=max wiops=max"
ok "the sandbox is in it" test "$(wc -l <"$cgroup/cgroup.procs")" -ge 2
for process in $(pgrep -f '[r]unsc.*(boot|gofer)'); do
    has "process $process of the runtime is in it" "$(cat /proc/"$process"/cgroup)" "${cgroup#/sys/fs/cgroup}"
done
same "the daemon is elsewhere" "$(cut -d: -f3 /proc/"$(systemctl show -P MainPID closedpawd)"/cgroup)" /system.slice/closedpawd.service
same "the daemon sees no other cgroups" "$(nsenter -t "$(systemctl show -P MainPID closedpawd)" -m ls -d /sys/fs/cgroup/system.slice 2>&1 || true)" \
    "ls: cannot access '/sys/fs/cgroup/system.slice': No such file or directory"
same "systemd's own cgroups hand on what systemd wants" "$(systemctl is-system-running)" running
has "the sandboxes' slice counts them" "$(systemctl show -P TasksCurrent closedpaw-sandboxes.slice)" "$(cat "$sandboxes/pids.current")"

# What takes more than its memory ends, and another sandbox works meanwhile.
allow_program dd "**"
# The kernel counts for a cgroup what happened in those that were below it (cgroups(7), memory.events).
killed() { sed -n 's/^oom_kill //p' "$sandboxes/memory.events"; }
same "nothing was killed for memory yet" "$(killed)" 0
fails "what takes more memory than it may does not get it" as alice closedpawctl run --no-workspace --quiet -- dd if=/dev/zero of=/dev/null bs=1500M count=1
has "the person is told so" "$(cat /tmp/ok.out)" memory-limit
ok "it was its cgroup's limit that ended it" test "$(killed)" -gt 0
same "and the log" "$(outcome)" "memory limit"
same "and ended nobody else" "$(systemctl is-active closedpawd)$(grep status /tmp/sleeper.out || true)" active
same "another sandbox works" "$(as alice closedpawctl run --no-workspace --quiet -- echo works)" works

# Reading is throttled. 16 MiB at 64 KiB a second take more than four minutes, and this has twenty seconds; without the limit it
# has as long as it likes.
folder=$(workspace alice project)
as alice dd if=/dev/urandom of="$folder/large" bs=1M count=16 status=none
# What lies on the disk is not in memory, too (posix_fadvise(2), POSIX_FADV_DONTNEED).
forget() { sync "$folder/large"; dd if="$folder/large" iflag=nocache count=0 status=none; }
reads() { as alice closedpawctl run --workspace "$folder" --quiet --profile "$1" -- dd if=large of=/dev/null bs=64K; }
forget
status=0
reads slow >/tmp/read.out 2>&1 || status=$?
same "what reads more than its limit lets it runs out of time" "$status" 124
has "and says so" "$(cat /tmp/read.out)" time-limit
same "as the log does" "$(outcome)" "time limit"
forget
ok "without the limit all of it is read" reads free
has "to its end" "$(cat /tmp/ok.out)" "16777216 bytes"

ok "stopping the cgroup's unit ends every sandbox" systemctl stop closedpaw-sandboxes.service
until_true "the client is told" grep -q status /tmp/sleeper.out
cat /tmp/sleeper.out
ok "the daemon still answers" as alice closedpawctl status
ok "the log verifies" as alice closedpawctl audit verify
