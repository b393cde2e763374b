#!/bin/bash
# A daemon that is restarted or killed while a sandbox runs leaves nothing behind, comes back, and has lost no record.
install_closedpaw
allow_program sleep "*"
log=/var/log/closedpaw/audit/audit.jsonl
runtime_processes() { pgrep -f 'runsc.*(boot|gofer)|closedpaw-relay'; }
nothing_left() { no_sandbox && ! runtime_processes && ! findmnt -rn -o TARGET | grep -q /run/closedpaw/; }
main() { systemctl show -P MainPID closedpawd; }
another_main() { [ "$(main)" != "$1" ] && [ "$(main)" != 0 ] && [ "$(systemctl is-active closedpawd)" = active ]; }

for way in restart kill-launcher kill-judge kill-both; do
    echo "== $way"
    sleeper alice
    before=$(main)
    records=$(wc -l <"$log")
    case "$way" in
        restart) systemctl restart closedpawd ;;
        kill-launcher) kill -9 "$before" ;;
        kill-judge) kill -9 "$(pgrep -f closedpawd-judge)" ;;
        kill-both) kill -9 "$before" "$(pgrep -f closedpawd-judge)" ;;
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
same "nothing failed" "$(systemctl --failed --no-legend --plain)" ""
