#!/bin/bash
# A daemon that is restarted or killed, or hangs, while a sandbox runs leaves nothing behind, comes back, and has lost no record.
# time limit: 240 and 45 a round
install_closedpaw
# Sooner than as shipped, so that a test need not wait for it; the judge beats every five seconds.
mkdir -p /run/systemd/system/closedpawd.service.d
printf '[Service]\nWatchdogSec=12s\n' >/run/systemd/system/closedpawd.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart closedpawd
allow_program sleep "*"
log=/var/log/closedpaw/audit/audit.jsonl
runtime_processes() { pgrep -f 'runsc.*(boot|gofer)|closedpaw-relay'; }
nothing_left() { no_sandbox && ! runtime_processes && ! findmnt -rn -o TARGET | grep -q /run/closedpaw/; }
main() { systemctl show -P MainPID closedpawd; }
another_main() { [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(systemctl is-active closedpawd)" = active ]; }

ways=(restart kill-launcher kill-judge kill-both hang)
for ((round = 0; round < rounds; round++)); do
    way=${ways[round % ${#ways[@]}]}
    echo "== $round $way"
    sleeper alice
    before=$(main)
    records=$(wc -l <"$log")
    case "$way" in
        restart) systemctl restart closedpawd ;;
        kill-launcher) kill -9 "$before" ;;
        kill-judge) kill -9 "$(pgrep -f closedpawd-judge)" ;;
        kill-both) kill -9 "$before" "$(pgrep -f closedpawd-judge)" ;;
        # A judge that does nothing any more, with the launcher still there: the watchdog ends it.
        hang) kill -STOP "$(pgrep -f closedpawd-judge)" ;;
    esac
    until_true "it comes back by itself" another_main "$before"
    until_true "nothing is left of the sandbox" nothing_left
    until_true "the client has been told" grep -q status /tmp/sleeper.out
    fails "it was not told that all went well" grep -q 'status 0' /tmp/sleeper.out
    ok "no record is lost" test "$(wc -l <"$log")" -gt "$records"
    same "the next command works" "$(as alice closedpawctl run --no-workspace --quiet -- echo again)" again
    ok "the log verifies" as alice closedpawctl audit verify
    rm -f /tmp/sleeper.out
    until_true "nothing is left" nothing_left
done
has "the watchdog has ended the one that hung" "$(journalctl -u closedpawd --no-pager)" "Watchdog timeout"
same "nothing failed" "$(systemctl --failed --no-legend --plain)" ""
