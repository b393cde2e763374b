#!/bin/bash
# The timer's work: the log's newest head is in the journal, a log that was changed is noticed, what piled up is cleared away.
install_closedpaw
same "enabling the daemon enables the timer" "$(systemctl is-enabled closedpaw-upkeep.timer)" enabled
systemctl start closedpaw-upkeep.timer
has "it will run within the hour" "$(systemctl list-timers --no-legend closedpaw-upkeep.timer)" closedpaw-upkeep.service
same "a command" "$(as alice closedpawctl run --no-workspace --quiet -- echo one)" one
log=/var/log/closedpaw/audit/audit.jsonl
heads() { journalctl --identifier=closedpaw-upkeep --output=cat --no-pager | grep '^closedpaw-head'; }
# The judge leaves its newest head a few seconds after the last record.
counted() { [ "$(cut -d' ' -f3 /var/lib/closedpaw/head)" = "$(wc -l <"$log")" ]; }
until_true "the newest head is over the whole log" counted
mkdir /run/closedpaw/rootfs/4711-4711
ok "upkeep" systemctl start closedpaw-upkeep.service
same "one head is in the journal" "$(heads | wc -l)" 1
same "it is the daemon's newest" "$(heads)" "$(cat /var/lib/closedpaw/head)"
has "the log was checked" "$(journalctl --identifier=closedpaw-upkeep --no-pager)" "records, "
fails "what no sandbox uses was cleared away" test -e /run/closedpaw/rootfs/4711-4711
same "sandboxes start as before" "$(as alice closedpawctl run --no-workspace --quiet -- echo two)" two
until_true "the newest head is over the whole log" counted
ok "root may run it by hand" sh -c 'closedpawd upkeep >/tmp/head'
same "it prints the head and nothing else" "$(cat /tmp/head)" "$(cat /var/lib/closedpaw/head)"

systemctl restart closedpawd
same "after a restart, too" "$(as alice closedpawctl run --no-workspace --quiet -- echo three)" three
until_true "the newest head is over the whole log" counted
ok "upkeep" systemctl start closedpaw-upkeep.service
same "another head is in the journal" "$(heads | wc -l)" 2

# Somebody cuts the log, and has the daemon start anew on what is left: the head that was published is longer.
systemctl stop closedpawd.socket closedpawd
sed -i '$d' "$log"
sed -i '$d' "$log"
systemctl start closedpawd.socket closedpawd
until_true "the daemon has signed a head of its own over it" counted
fails "upkeep notices" systemctl start closedpaw-upkeep.service
has "and says so" "$(journalctl --identifier=closedpaw-upkeep --no-pager)" "does not verify"
same "the unit has failed, for an administrator to see" "$(systemctl is-failed closedpaw-upkeep.service)" failed
