#!/bin/bash
# `closedpawctl run`: exit statuses, output and who one is inside; the workspace stays as it is; a question needs its answer.
install_closedpaw
folder=$(workspace alice project)
echo original | install -o alice -g alice -m 644 /dev/stdin "$folder/file"
in_sandbox() { as alice closedpawctl run --quiet --workspace "$folder" -- "$@"; }
same "output" "$(in_sandbox cat file)" original
has "who one is" "$(in_sandbox id)" "uid=$(id -u alice)(person)"
has "whose kernel it is" "$(in_sandbox uname -a)" Linux
status=0; in_sandbox false || status=$?
same "a failure's status" "$status" 1
fails "what is asked needs somebody to answer" in_sandbox touch file2
fails "and was not done" test -e "$folder/file2"
status=0
as alice /e2e/bin/at-terminal expect '[n] no' type y -- closedpawctl run --workspace "$folder" -- sh -c 'echo changed >file; exit 7' || status=$?
same "a person says yes at a terminal, and it is done" "$status" 7
same "the workspace stays as it is" "$(cat "$folder/file")" original
until_true "no sandbox is left" no_sandbox
ok "the log verifies" as alice closedpawctl audit verify
