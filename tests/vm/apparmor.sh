#!/bin/bash
# AppArmor in SELinux's place: each half runs under a profile of its own, work goes on as ever, and what the profiles stop is
# stopped by them: the same attempts succeed as soon as the profiles refuse nothing.
# boots with: apparmor
# time limit: 900
# shellcheck disable=SC2034,SC2154 # what is set for lib.sh, and by it
install_closedpaw
enrol bob
allow_program sleep '*'
fails "the kernel has no SELinux" grep -q selinux /sys/kernel/security/lsm
profiles() { grep '^closedpawd' /sys/kernel/security/apparmor/profiles | sort; }
in_mode() { printf "%s ($1)\n" closedpawd closedpawd//{judge,relay,runtime}; }
same "all of it enforces" "$(profiles)" "$(in_mode enforce)"

# Who is under which profile. Each half is under the launcher's, too: that is what no_new_privs takes.
label() { tr -d '\0' <"/proc/$1/attr/apparmor/current"; }
labels() { for process in "$@"; do label "$process"; done | sort -u; }
# What a process has started, and what that has, and so on.
below() { cat /proc/"$1"/task/*/children | tr ' ' '\n' | while read -r child; do echo "$child"; below "$child"; done; }
of() { echo "closedpawd//&closedpawd//$1 (enforce)"; }
main() { systemctl show -P MainPID closedpawd; }
confined() {
    same "$1: launcher" "$(label "$(main)")" "closedpawd (enforce)"
    same "$1: judge" "$(labels "$(pgrep -f closedpawd-judge)")" "$(of judge)"
    same "$1: relay" "$(labels "$(pgrep -f closedpaw-relay)")" "$(of relay)"
    mapfile -t runtime < <(pgrep -f 'runsc.*boot' | while read -r boot; do echo "$boot"; below "$boot"; done; pgrep -f 'runsc.*gofer')
    ok "$1: a sandbox is several processes (${#runtime[@]})" test "${#runtime[@]}" -gt 2
    same "$1: runtime" "$(labels "${runtime[@]}")" "$(of runtime)"
}
sleeper alice
confined "at first"
# What the launcher has started is one of these, and nothing else.
mapfile -t all < <(below "$(main)")
same "nothing runs in the launcher's own profile" "$(labels "${all[@]}")" "$(of judge; of relay; of runtime)"

# Work as ever.
folder=$(workspace alice project)
as alice sh -c 'printf "a\nb\n" >project/lines; mkdir project/sub; printf "#!/bin/sh\necho script\n" >project/sub/script; chmod +x project/sub/script'
inside() { as alice closedpawctl run --quiet --workspace "$folder" -- "$@"; }
yes() { as alice /e2e/bin/at-terminal expect '[n] no' type y -- closedpawctl run --workspace "$folder" -- "$@"; }
same "a command in a sandbox" "$(inside wc -l lines)" "2 lines"
has "a listing" "$(inside ls -la sub)" script
status=0
# shellcheck disable=SC2016 # the sandbox's shell expands it
yes sh -c 'set -e; echo c >>lines; sub/script; cp /usr/bin/true sub/own; sub/own; mv lines sub; mkfifo pipe; ln -s sub other; ln other/lines hard; chmod 600 hard; rm pipe; test "$(cat hard)" = "$(printf "a\nb\nc")"; exit 7' || status=$?
same "what changes much" "$status" 7
same "the workspace stays as it is" "$(cd "$folder" && find . -type f | sort | tr '\n' ' ')" "./lines ./sub/script "
install -d -o alice /tmp/elsewhere /tmp/elsewhere/project
echo here >/tmp/elsewhere/project/file
same "a workspace that is in no home" "$(as alice closedpawctl run --quiet --workspace /tmp/elsewhere/project -- cat file)" here
has "limits are kept" "$(cat "$sandboxes"/*/memory.max)" 1
ok "reload" systemctl reload closedpawd
same "after a reload" "$(inside wc -l lines)" "2 lines"
# What runs goes on, in the profiles that it had.
ok "restart" systemctl restart closedpawd
fails "the client has nothing to be told" grep -q status /tmp/sleeper.out
confined "after a restart"
same "and goes on" "$(as alice closedpawctl sandbox list --json | grep -c '"running": *1')" 1
ok "the timer's check of the log" systemctl start closedpaw-upkeep.service
load_profile
confined "with a profile that is loaded anew"
same "which is no end of the work" "$(inside wc -l lines)" "2 lines"
ok "pin" closedpawd pin /usr/bin/runsc
ok "check" closedpawd check
ok "the log verifies" as alice closedpawctl audit verify
ok "stop" systemctl stop closedpawd
until_true "the client has been told" grep -q status /tmp/sleeper.out
same "the next command starts it" "$(inside cat sub/script | tail -1)" "echo script"
# It may find other things wrong.
doctor() { (as alice closedpawctl doctor || true) | grep ' apparmor '; }
has "doctor sees it, and asks for nothing that is root's" "$(doctor)" "✓ apparmor       closedpawd's profile is enforcing"
no_denials

# What they are there to stop. The program that tries is no static one, and wants to be told what there is: that much is allowed to
# it on top.
denials_meant=yes
mkdir -p /etc/apparmor.d/tunables/closedpawd.d
echo '@{closedpaw_runtime}+=/opt/breakout/runsc' >/etc/apparmor.d/tunables/closedpawd.d/breakout
for profile in closedpawd closedpawd.{judge,runtime,relay}; do
    printf '%s\n' '/opt/breakout/host r,' '/usr/local/bin/breakout mr,' '/etc/ld.so.cache r,' '/usr/lib/** mr,' \
        '@{PROC}/@{pid}/maps r,' '@{PROC}/sys/kernel/osrelease r,' >"/etc/apparmor.d/local/$profile"
done
load_profile
# shellcheck source=tests/vm/guest/breakout.sh
. /e2e/guest/breakout.sh
sleeper bob
broken apparmor
# alone COLUMN PROFILE: root with everything, and of all layers this one only.
alone() {
    mapfile -t host </opt/breakout/host
    unshare --mount aa-exec --profile "$2" -- /usr/local/bin/breakout "${host[@]}" >"/artifacts/$1"
    rm -f /etc/closedpaw/keys.d/breakout.new /tmp/breakout-disk
}
alone none unconfined
alone launcher closedpawd
alone judge 'closedpawd//&closedpawd//judge'
alone runtime 'closedpawd//&closedpawd//runtime'
alone relay 'closedpawd//&closedpawd//relay'
load_profile --Complain
same "all of it complains" "$(profiles)" "$(in_mode complain)"
broken no-apparmor
has "doctor does not take that for a layer" "$(doctor)" "· apparmor       present, but closedpawd's profile refuses nothing"
load_profile
broken again
same "and again" "$(cat /artifacts/again)" "$(cat /artifacts/apparmor)"
apparmor_parser --remove /etc/apparmor.d/closedpawd
closedpawd pin /usr/bin/runsc
systemctl restart closedpawd
same "without the profile work goes on" "$(as alice closedpawctl run --no-workspace --quiet -- echo on)" on
has "and doctor says what is missing" "$(doctor)" "· apparmor       present, but closedpawd runs without its profile"

reached() { sed -n 's/ reached$//p' "/artifacts/$1" | tr '\n' ' '; }
same "an attempt that root itself cannot make is none" "$(grep -v ' reached$' /artifacts/none || true)" ""
same "what a broken gVisor reaches" "$(reached apparmor)" "talk-to-the-daemon read-another-sandbox signal-another-sandbox make-a-user-namespace "
for attempt in read-passwords read-the-daemons-key write-to-the-log read-anothers-home enrol-a-key change-another-sandbox signal-the-daemon mount; do
    has "it is AppArmor that stops it" "$(reached no-apparmor)" "$attempt "
done
table apparmor 'gVisor broken | and no AppArmor | only the profile: launcher | judge | runtime | relay' \
    apparmor no-apparmor launcher judge runtime relay
