#!/bin/bash
# The units as systemd judges them: no complaint, and less exposed than the neighbours', measured the same way.
put_files
systemd-sysusers closedpaw.conf
units=(/usr/lib/systemd/system/closedpaw*)
same "systemd-analyze verify says nothing" "$(systemd-analyze verify --man=no "${units[@]}" 2>&1)" ""
exposure() { systemd-analyze security --offline=true --no-pager "$1" 2>/dev/null | sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\) .*/\1/p'; }
cp -r /usr/lib/systemd/system/closedpawd.service /usr/share/neighbours/
systemd-analyze security --offline=true --no-pager /usr/lib/systemd/system/closedpawd.service >/artifacts/closedpawd.txt || true
grep '✗' /artifacts/closedpawd.txt || true
for unit in closedpawd containerd docker libvirtd; do
    printf '| %s.service | %s |\n' "$unit" "$(exposure "/usr/share/neighbours/$unit.service")"
done | tee /artifacts/exposure.md
ours=$(exposure /usr/share/neighbours/closedpawd.service)
for unit in containerd docker libvirtd; do
    theirs=$(exposure "/usr/share/neighbours/$unit.service")
    ok "$ours is below $unit's $theirs" awk "BEGIN { exit !($ours < $theirs) }"
done
