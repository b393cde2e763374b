#!/bin/bash
# A daemon that is restarted or killed, or hangs, while a command runs: the command goes on, with its input, its output and its exit
# status, and no record is lost. One that is stopped ends everything.
# time limit: 240 and 45 a round
install_closedpaw
# Sooner than as shipped, so that a test need not wait for it; the judge beats every five seconds.
mkdir -p /run/systemd/system/closedpawd.service.d
printf '[Service]\nWatchdogSec=12s\n' >/run/systemd/system/closedpawd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart closedpawd
# tee says what it hears, and the shipped rules set it no time.
allow_program tee '*'
allow_program sleep '*'
log=/var/log/closedpaw/audit/audit.jsonl
runtime_processes() { pgrep -f 'runsc.*(boot|gofer)|closedpaw-relay'; }
nothing_runs() { ! runtime_processes; }
nothing_left() { no_sandbox && nothing_runs && ! findmnt -rn -o TARGET | grep -q /run/closedpaw/; }
main() { systemctl show -P MainPID closedpawd; }
another_main() { [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(systemctl is-active closedpawd)" = active ]; }
stored() { systemctl show -P NFileDescriptorStore closedpawd; }
records() { grep -c "\"kind\":\"$1\"" "$log" || true; }

folder=$(workspace alice project)
ways=(restart kill-launcher kill-judge kill-both hang)
for ((round = 0; round < rounds; round++)); do
    way=${ways[round % ${#ways[@]}]}
    echo "== $round $way"
    talker closedpawctl run --workspace "$folder" -- tee /dev/null
    sandbox=$(ls /run/closedpaw/sandboxes)
    processes=$(runtime_processes)
    same "the store has what it lives on" "$(stored)" 5
    before=$(main)
    lines=$(wc -l <"$log")
    case "$way" in
        restart) systemctl restart closedpawd ;;
        kill-launcher) kill -9 "$before" ;;
        kill-judge) kill -9 "$(pgrep -f closedpawd-judge)" ;;
        kill-both) kill -9 "$before" "$(pgrep -f closedpawd-judge)" ;;
        # A judge that does nothing any more, with the launcher still there: the watchdog ends it.
        hang) kill -STOP "$(pgrep -f closedpawd-judge)" ;;
    esac
    say during
    until_true "it comes back by itself" another_main "$before"
    say after
    same "it is the same sandbox" "$(ls /run/closedpaw/sandboxes)" "$sandbox"
    same "the same processes" "$(runtime_processes)" "$processes"
    until_true "the log says that it was taken back" sh -c "tail -n +$lines $log | grep -q '\"taken_back\":1'"
    outcomes=$(records outcome)
    # Its console is back, and has asked to be: without that the session would end half a minute later.
    until_true "the client is its console again" sh -c "journalctl -u closedpawd --no-pager | grep -c 'console is back' | grep -qx $((round + 1))"
    exec 7>&-
    until_true "it ends when its input does" grep -q status /tmp/talk.out
    same "as it should" "$(cat /tmp/talk.out)" "$(printf 'before\nduring\nafter\nstatus 0')"
    same "how it ended is in the log" "$(records outcome)" "$((outcomes + 1))"
    until_true "nothing is left of it" nothing_left
    same "the store has nothing" "$(stored)" 0
    ok "no record is lost" test "$(wc -l <"$log")" -gt "$lines"
    same "the next command works" "$(as alice closedpawctl run --no-workspace --quiet -- echo again)" again
    ok "the log verifies" as alice closedpawctl audit verify
    until_true "nothing is left" nothing_left
done
[ "$rounds" -lt 5 ] || has "the watchdog has ended the one that hung" "$(journalctl -u closedpawd --no-pager)" "Watchdog timeout"

# A console that does not come back ends its session; a daemon that is stopped ends all.
sleeper alice
pkill -9 -f 'closedpawctl run' || true
until_true "a session ends with its console" nothing_left
sleeper alice
systemctl stop closedpawd.socket closedpawd
until_true "stopping the daemon ends what runs" nothing_runs
until_true "the client has been told" grep -q status /tmp/sleeper.out
fails "it was not told that all went well" grep -q 'status 0' /tmp/sleeper.out
systemctl start closedpawd.socket closedpawd
until_true "nothing is left" nothing_left
ok "the log verifies" as alice closedpawctl audit verify
same "nothing failed" "$(systemctl --failed --no-legend --plain)" ""
