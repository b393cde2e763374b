#!/bin/bash
# closedpawd from its units: with the files in place, `systemctl enable --now closedpawd` is all it takes.
put_files
fails "nobody has made the account yet" getent passwd closedpaw
ok "systemctl enable --now closedpawd" systemctl enable --now closedpawd
systemctl --no-pager --full status closedpawd.socket closedpawd.service closedpaw-sandboxes.service closedpaw-setup.service || true
for unit in closedpawd.socket closedpawd.service closedpaw-sandboxes.service; do
    same "$unit is active" "$(systemctl is-active $unit)" active
done
for unit in closedpawd.socket closedpawd.service; do
    same "$unit is enabled" "$(systemctl is-enabled $unit)" enabled
done
same "the socket is the group's" "$(stat -c '%U:%G %a' /run/closedpaw/closedpawd.sock)" "root:closedpaw 660"
same "its folder is root's" "$(stat -c '%U:%G %a' /run/closedpaw)" "root:closedpaw 755"
same "the runtime is pinned" "$(cut -d' ' -f3 /etc/closedpaw/runtime.b3)" /usr/bin/runsc
same "the judge runs under its account" "$(ps -o user:20= -p "$(pgrep -f closedpawd-judge)" | tr -d " ")" closedpaw
has "limits can be kept" "$(journalctl -u closedpawd --no-pager)" "limits here: cpu, io, memory, pids"
fails "bob is not in the group and cannot connect" as bob closedpawctl status
enrol alice
ok "status" as alice closedpawctl status
as alice closedpawctl doctor || true
folder=$(workspace alice project)
as alice sh -c 'printf "a\nb\n" >project/lines'
same "a command in a sandbox" "$(as alice closedpawctl run --quiet --workspace "$folder" -- wc -l lines)" "2 lines"

# Nothing is asked of systemd in vain: reload waits for the policy, stop ends everything, the socket starts it again.
ok "reload" systemctl reload closedpawd
ok "stop" systemctl stop closedpawd.service
same "the socket goes on listening" "$(systemctl is-active closedpawd.socket)" active
same "the next command starts it" "$(as alice closedpawctl run --quiet --no-workspace -- echo again)" again
same "it runs" "$(systemctl is-active closedpawd.service)" active
ok "the log verifies" as alice closedpawctl audit verify
same "nothing failed" "$(systemctl --failed --no-legend --plain)" ""
