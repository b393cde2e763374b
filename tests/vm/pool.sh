#!/bin/bash
# time limit: 600
# Commands that have a sandbox each, under systemd: in their guard's domains, and on a layer that an earlier daemon has mounted.
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
sed 's/^name .*/name = "apart"/; s/^mounts .*/&\ncommands = "apart"\npool = 1/' /etc/closedpaw/profiles.d/default.toml \
    >/tmp/apart.toml
install -m 644 /tmp/apart.toml /etc/closedpaw/profiles.d/apart.toml
allow_program tee '*'
folder=$(workspace alice project)
run=(closedpawctl run --workspace "$folder" --quiet --profile apart --)
clean() { as alice closedpawctl sandbox list | sed -n 's/^\([0-9a-f]*\)  clean .*/\1/p'; }
one_is_clean() { [ "$(clean | wc -l)" = 1 ]; }
all_three() { [ "$(sandbox_cgroups | wc -l)" = 3 ]; }

mkfifo /tmp/talk.in
exec 7<>/tmp/talk.in
(
    exec </tmp/talk.in 7>&-
    status=0
    as alice "${run[@]}" tee /workspace/heard >/tmp/talk.out 2>&1 || status=$?
    echo "status $status" >>/tmp/talk.out
) &
echo before >&7
until_true "it says so" grep -qx before /tmp/talk.out || { cat /tmp/talk.out >&2; exit 1; }
until_true "another one waits" one_is_clean
same "the session's own, the command's, and the one that waits" "$(sandbox_cgroups | wc -l)" 3
first=$(clean)
if [ "$guard" = SELinux ]; then
    # All of a session's have its categories, and each its own uid.
    same "the session's categories" "$(pgrep -f 'runsc.*boot' | xargs -I{} cat /proc/{}/attr/current | tr '\0' '\n' | sort -u | wc -l)" 1
fi
same "a uid each" "$(pgrep closedpaw-relay | xargs -I{} stat -c %u /proc/{} | sort -u | wc -l)" 3

systemctl restart closedpawd
echo after >&7
until_true "the command goes on" grep -qx after /tmp/talk.out
until_true "a new one waits, on the layer that the earlier daemon mounted" one_is_clean
[ "$(clean)" != "$first" ]
until_true "the old one is gone" all_three
exec 7>&-
until_true "it ends with its input" grep -qx 'status 0' /tmp/talk.out
until_true "nothing is left" no_sandbox
same "what it wrote is staged" "$(as alice sh -c "cd project && closedpawctl diff --stat" | grep -c heard)" 1
same "and nowhere else" "$(ls "$folder")" ""
ok "the log verifies" as alice closedpawctl audit verify
no_denials
