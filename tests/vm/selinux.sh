#!/bin/bash
# SELinux is enforcing: each process has its own domain, each sandbox its own categories, and what one may not it cannot.
install_closedpaw
same "enforcing" "$(getenforce)" Enforcing
same "no domain is permissive" "$(semanage permissive --list 2>/dev/null | grep closedpaw || true)" ""
allow_program sleep '*'
allow_program cat '*'
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
no_denials

# From here on SELinux is meant to refuse. A shell in a sandbox's domain stands for a gVisor that was broken: root, all capabilities.
# shellcheck disable=SC2034 # guest/run reads it
denials_meant=yes
install -D /e2e/bin/busybox /opt/broken/runsc
chcon -t closedpaw_runtime_exec_t /opt/broken/runsc
broken() { runcon "system_u:system_r:$1" /opt/broken/runsc sh -c "$2"; }
own=closedpaw_runtime_t:${one#*:} other=closedpaw_runtime_t:${two#*:}
mark=$(dirname "$(find /run/closedpaw/sandboxes/"$first" -name config.json)")
ok "a broken sandbox reads its own folder" broken "$own" "cat $mark/config.json"
fails "and not another's" broken "$other" "cat $mark/config.json"
fails "nor writes there" broken "$other" "echo x >$mark/pid"
fails "nor reads what the runtime remembers of it" broken "$other" "cat /run/closedpaw/runsc/$first*.state"
fails "nor passwords" broken "$own" "cat /etc/shadow"
fails "nor the log" broken "$own" "cat /var/log/closedpaw/audit/audit.jsonl"
fails "nor the daemon's key" broken "$own" "cat /var/lib/closedpaw/daemon.key"
fails "nor a person's files" broken "$own" "cat /home/alice/.config/closedpaw/* /home/alice/.bashrc"
fails "nor whose signature counts" broken "$own" "echo x >/etc/closedpaw/keys.d/x.toml"
fails "nor programs of the host" broken "$own" "echo x >>/usr/bin/true"
fails "it ends no process of the other's" broken "$own" "kill -0 $(of "boot.*$second")"
fails "nor the daemon" broken "$own" "kill -0 $(systemctl show -P MainPID closedpawd)"
fails "it has no network" broken "$own" "exec 3<>/dev/tcp/127.0.0.1/22"
has "and each of these was said" "$(denials)" closedpaw_runtime_t
