#!/bin/bash
# SELinux is enforcing: each process has its own domain, each sandbox its own categories. What that stops is in layers.sh.
install_closedpaw
same "enforcing" "$(getenforce)" Enforcing
same "no domain is permissive" "$(semanage permissive --list 2>/dev/null | grep closedpaw || true)" ""
allow_program sleep '*'
enrol bob
sleeper alice
first=$(ls /run/closedpaw/sandboxes)
sleeper bob
second=$(ls /run/closedpaw/sandboxes | grep -v "$first")

# context PID: its type and level.
context() { tr -d '\0' <"/proc/$1/attr/current" | cut -d: -f3-; }
of() { pgrep -f "$1"; }
same "launcher" "$(context "$(systemctl show -P MainPID closedpawd)")" closedpawd_t:s0
same "judge" "$(context "$(of closedpawd-judge)")" closedpaw_judge_t:s0
# What runs in a sandbox's domain, and with which categories, process by process.
runtime() { pgrep -f "$1" | while read -r pid; do context "$pid"; done | sort -u; }
one=$(runtime "boot.*$first")
two=$(runtime "boot.*$second")
has "a sandbox is a runtime" "$one" closedpaw_runtime_t:s0:c
has "another one is, too" "$two" closedpaw_runtime_t:s0:c
fails "no two have the same categories" test "$one" = "$two"
same "one level each" "$(echo "$one$two" | tr -cd ,)" ",,"
same "a relay for each, with its sandbox's categories" "$(for pid in $(of closedpaw-relay); do context "$pid"; done | sort)" \
    "$(printf '%s\n%s' "${one/runtime/relay}" "${two/runtime/relay}" | sort)"
# Everything of a sandbox's, stubs too, is in that domain.
for boot in $(of 'runsc.*boot'); do
    for child in $(cat /proc/"$boot"/task/*/children); do same "a stub" "$(context "$child")" "$(context "$boot")"; done
done
label() { stat -c %C "$1" | cut -d: -f3-; }
same "its folder is its own" "$(label "/run/closedpaw/sandboxes/$first")" "closedpaw_layer_t:${one#*:}"
same "so is the other's" "$(label "/run/closedpaw/sandboxes/$second")" "closedpaw_layer_t:${two#*:}"
