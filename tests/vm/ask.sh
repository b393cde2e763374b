#!/bin/bash
# `closedpawctl ask` with a model that does what its script says, and a person who answers at a terminal.
install_closedpaw
folder=$(workspace alice project)
printf 'a\nb\nc\n' | install -o alice -g alice -m 644 /dev/stdin "$folder/lines"
cat >/tmp/script.json <<'JSON'
{"format": "ollama", "turns": [
  {"calls": [{"name": "run", "arguments": {"argv": ["wc", "-l", "lines"]}}]},
  {"calls": [{"name": "run", "arguments": {"argv": ["touch", "made"]}}]},
  {"calls": [{"name": "run", "arguments": {"argv": ["rm", "lines"]}}]},
  {"text": "It has three lines."}
]}
JSON
/e2e/bin/scripted-model /tmp/script.json 11500 >/tmp/model.out &
model=$!
until_true "the model listens" grep -q . /tmp/model.out
export CLOSEDPAW_MODEL_URL=http://127.0.0.1:11500
shown=$(as alice /e2e/bin/at-terminal expect touch expect '[s] stop this session:' type y expect rm expect '[s] stop this session:' type n expect 'three lines' -- \
    closedpawctl ask --workspace "$folder" "How many lines does the file have?")
kill "$model"
echo "$shown"
has "the answer is shown" "$shown" "It has three lines."
has "what changed is shown" "$shown" made
fails "and is not carried over" test -e "$folder/made"
same "the file is there" "$(wc -l <"$folder/lines")" 3
log=/var/log/closedpaw/audit/audit.jsonl
same "one yes, one no" "$(grep -o '"answer":"[a-z]*"' "$log" | sort | tr '\n' ' ')" '"answer":"approved" "answer":"denied" '
until_true "no sandbox is left" no_sandbox
ok "the log verifies" as alice closedpawctl audit verify
