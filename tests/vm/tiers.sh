#!/bin/bash
# The tier `process` under systemd: it keeps to its limits, goes on over a restart, and needs nothing that is refused.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
cat >/etc/closedpaw/profiles.d/namespaces.toml <<'TOML'
version = 1
[[profile]]
name      = "namespaces"
isolation = "process"
require   = ["cpu", "memory", "pids"]
mounts    = { workspace = "layer" }
[profile.limits]
memory  = "256MiB"
pids    = 100
cpu     = 150
seconds = 600
output  = "16MiB"
files   = 1024
tmp     = "64MiB"
layer   = "64MiB"
TOML
rule opening 'allow = ["open"]' 'isolation = "process"' 'role = "approver"'
rule work 'allow = ["exec"]' 'argv = [["echo", "**"], ["cat", "**"], ["sleep", "*"], ["tee", "*"], ["dd", "**"], ["hostname"], ["touch", "*"]]' \
    'isolation = "process"' 'role = ["agent", "approver"]'
systemctl reload closedpawd
folder=$(workspace alice project)
run=(closedpawctl run --workspace "$folder" --quiet --isolation process --profile namespaces --)
same "it works" "$(as alice "${run[@]}" echo works)" works
same "under a name of its own" "$(as alice "${run[@]}" hostname)" sandbox
same "which is not this machine's" "$(hostname)" "$(cat /proc/sys/kernel/hostname)"
ok "it writes into the layer" as alice "${run[@]}" touch /workspace/made
same "and nowhere else" "$(ls "$folder")" ""

# A command that goes on, with its input, while the daemon is restarted.
mkfifo /tmp/talk.in
exec 7<>/tmp/talk.in
(
    exec </tmp/talk.in 7>&-
    status=0
    as alice "${run[@]}" tee /dev/null >/tmp/talk.out 2>&1 || status=$?
    echo "status $status" >>/tmp/talk.out
) &
echo before >&7
until_true "it says so" grep -qx before /tmp/talk.out
cgroup=$(sandbox_cgroups)
same "memory.max" "$(cat "$cgroup/memory.max")" $((256 << 20))
same "pids.max" "$(cat "$cgroup/pids.max")" 100
same "cpu.max" "$(cat "$cgroup/cpu.max")" "150000 100000"
init=$(pgrep -f '^/closedpaw/init serve')
has "init is in its cgroup" "$(cat "/proc/$init/cgroup")" "${cgroup#/sys/fs/cgroup}"
if [ "$guard" = SELinux ]; then has "and in its domain" "$(cat "/proc/$init/attr/current")" :closedpaw_cell_t: ; fi
systemctl restart closedpawd
echo after >&7
until_true "it goes on" grep -qx after /tmp/talk.out
exec 7>&-
until_true "and ends with its input" grep -qx 'status 0' /tmp/talk.out
until_true "nothing is left of it" no_sandbox

fails "what takes more memory than it may does not get it" as alice "${run[@]}" dd if=/dev/zero of=/dev/null bs=600M count=1
same "another works meanwhile" "$(as alice "${run[@]}" echo works)" works
ok "the log verifies" as alice closedpawctl audit verify
no_denials
