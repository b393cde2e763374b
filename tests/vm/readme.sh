#!/bin/bash
# A new administrator with the README and nothing else: every command of its section "Install it", as it is written there.
put_files
install -m 644 -o alice -g alice -D /dev/stdin /home/alice/project/notes.txt <<<"one line"
chown alice: /home/alice/project
echo '{"format": "ollama", "turns": [{"calls": [{"name": "list_files", "arguments": {"path": "."}}]}, {"text": "One line."}]}' >/tmp/script.json
/e2e/bin/scripted-model /tmp/script.json 11434 >/tmp/model.out &
until_true "the model listens" grep -q . /tmp/model.out

# The commands of that section's consoles, each with its prompt.
sed -n '/^## Install it$/,/^## /p' /e2e/guest/README.md | sed -n '/^```console$/,/^```$/p' | grep '^[#$] ' >/tmp/commands
cat /tmp/commands
ok "there are some" test "$(wc -l </tmp/commands)" -ge 8
public=none
while read -r prompt command; do
    command=${command//PUBLIC/$public}
    case "$prompt $command" in
        # Done by unpacking what it puts at its places.
        '# scripts/install') continue ;;
        '#'*) ok "as root: $command" bash -c "$command" </dev/null ;;
        *) ok "as alice: $command" as alice bash -c "cd project && $command" </dev/null ;;
    esac
    case "$command" in
        *generate) public=$(head -1 /tmp/ok.out) ;;
        *enroll*) until_true "the key counts" as alice closedpawctl status ;;
        *doctor) cat /tmp/ok.out ;;
        *' wc '*) same "what it prints" "$(head -1 /tmp/ok.out)" "1 notes.txt" ;;
        *' ask '*) has "the answer" "$(cat /tmp/ok.out)" "One line." ;;
        *verify) has "verified" "$(cat /tmp/ok.out)" verified ;;
    esac
done </tmp/commands
