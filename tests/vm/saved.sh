#!/bin/bash
# time limit: 600
# What runs in a sandbox is saved and restored, under systemd and in the guard's domains, also on mounts of an earlier daemon.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
folder=$(workspace alice project)
cat >/tmp/script.json <<'JSON'
{"format": "ollama", "turns": [
  {"calls": [{"name": "run", "arguments": {"argv": ["touch", "made"]}}]},
  {"text": "Done."}
]}
JSON
/e2e/bin/scripted-model /tmp/script.json 11500 >/tmp/model.out &
until_true "the model listens" grep -q . /tmp/model.out
export CLOSEDPAW_MODEL_URL=http://127.0.0.1:11500
# A conversation that waits for its person: nothing runs in its sandbox.
as alice /e2e/bin/at-terminal expect '[s] stop this session:' expect 'which nobody says' -- \
    closedpawctl ask --workspace "$folder" "Make a file." >/tmp/ask.out 2>&1 &
listed() { as alice closedpawctl sandbox list | sed 's/^[0-9a-f]*  \([a-z]*\) .*/\1/' | paste -sd' '; }
is() { [ "$(listed)" = "$1" ]; }
until_true "something is asked" grep -q '"kind":"asked"' /var/log/closedpaw/audit/audit.jsonl
until_true "and its sandbox is ready" is ready
sandbox=$(as alice closedpawctl sandbox list | cut -c1-8)

fails "nothing was saved yet" as alice closedpawctl sandbox restore "$sandbox"
ok "it is saved" as alice closedpawctl sandbox checkpoint "$sandbox"
ok "and restored" as alice closedpawctl sandbox restore "$sandbox"
same "in a sandbox of its own" "$(listed)" "stopped ready"
same "with limits of its own" "$(sandbox_cgroups | wc -l)" 2
systemctl restart closedpawd
until_true "both are there with the next daemon" is "stopped ready"
ok "which restores what was saved before" as alice closedpawctl sandbox restore "$sandbox"
until_true "in the place of the one before" is "stopped ready"
ok "and saves it again" as alice closedpawctl sandbox checkpoint "$sandbox"
ok "and restores that" as alice closedpawctl sandbox restore "$sandbox"
ok "everything is stopped" as alice closedpawctl stop
until_true "and nothing is left" no_sandbox
ok "the log verifies" as alice closedpawctl audit verify
no_denials
