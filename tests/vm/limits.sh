#!/bin/bash
# A sandbox's limits are the kernel's to keep: read back from its cgroup, and reached without harm to anybody.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
cat >/etc/closedpaw/profiles.d/default.toml <<'TOML'
version = 1
[[profile]]
name      = "default"
isolation = "gvisor"
require   = ["cpu", "memory", "pids"]
env       = ["LANG"]
mounts    = { workspace = "layer" }
[profile.limits]
memory  = "512MiB"
pids    = 300
cpu     = 150
seconds = 600
output  = "16MiB"
files   = 1024
tmp     = "64MiB"
layer   = "64MiB"
TOML
allow_program sleep "*"
sleeper alice
cgroup=$(sandbox_cgroups)
same "one sandbox, one cgroup" "$(grep -c . <<<"$cgroup")" 1
same "memory.max" "$(cat "$cgroup/memory.max")" $((512 << 20))
same "memory.swap.max" "$(cat "$cgroup/memory.swap.max" 2>/dev/null || echo 0)" 0
same "pids.max" "$(cat "$cgroup/pids.max")" 300
same "cpu.max" "$(cat "$cgroup/cpu.max")" "150000 100000"
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
ok "it was its cgroup's limit that ended it" test "$(killed)" -gt 0
same "and ended nobody else" "$(systemctl is-active closedpawd)$(grep status /tmp/sleeper.out || true)" active
same "another sandbox works" "$(as alice closedpawctl run --no-workspace --quiet -- echo works)" works
ok "stopping the cgroup's unit ends every sandbox" systemctl stop closedpaw-sandboxes.service
until_true "the client is told" grep -q status /tmp/sleeper.out
cat /tmp/sleeper.out
ok "the daemon still answers" as alice closedpawctl status
ok "the log verifies" as alice closedpawctl audit verify
