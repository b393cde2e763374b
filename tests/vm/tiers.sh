#!/bin/bash
# The tier `process` under systemd: it keeps to its limits, goes on over a restart, and needs nothing that is refused.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
profile namespaces process 256MiB 100 'seconds = 600' 'io = "8MiB"'
allow_in_process echo cat sleep tee dd touch
folder=$(workspace alice project)
run=(closedpawctl run --workspace "$folder" --quiet --isolation process --profile namespaces --)
same "it works" "$(as alice "${run[@]}" echo works)" works
same "under a name of its own" "$(as alice "${run[@]}" hostname)" sandbox
same "which is not this machine's" "$(hostname)" "$(cat /proc/sys/kernel/hostname)"
ok "it writes into the layer" as alice "${run[@]}" touch /workspace/made
same "and nowhere else" "$(ls "$folder")" ""

# A command that goes on, with its input, while the daemon is restarted.
talker "${run[@]}" tee /dev/null
cgroup=$(sandbox_cgroups)
same "memory.max" "$(cat "$cgroup/memory.max")" $((256 << 20))
same "pids.max" "$(cat "$cgroup/pids.max")" 100
same "cpu.max" "$(cat "$cgroup/cpu.max")" "150000 100000"
same "io.max" "$(cat "$cgroup/io.max")" "$(disk_of "$folder") rbps=8388608 wbps=8388608 riops=max wiops=max"
init=$(pgrep -f '^/closedpaw/init serve')
has "init is in its cgroup" "$(cat "/proc/$init/cgroup")" "${cgroup#/sys/fs/cgroup}"
if [ "$guard" = SELinux ]; then has "and in its domain" "$(cat "/proc/$init/attr/current")" :closedpaw_cell_t: ; fi
systemctl restart closedpawd
say after
exec 7>&-
until_true "and ends with its input" grep -qx 'status 0' /tmp/talk.out
until_true "nothing is left of it" no_sandbox

fails "what takes more memory than it may does not get it" as alice "${run[@]}" dd if=/dev/zero of=/dev/null bs=600M count=1
has "and is told why" "$(cat /tmp/ok.out)" memory-limit
same "as the log is" "$(outcome)" "memory limit"
same "another works meanwhile" "$(as alice "${run[@]}" echo works)" works
ok "the log verifies" as alice closedpawctl audit verify
no_denials
