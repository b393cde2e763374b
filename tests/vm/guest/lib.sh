# What the machine tests share. A test is sourced after this, as root, with errexit.
# shellcheck shell=bash

# What this machine was booted with, and whether it only says what it would refuse.
if [ -e /sys/fs/selinux/enforce ]; then guard=SELinux; else guard=AppArmor; fi
permissive=''
[ ! -e /e2e/permissive ] || permissive=yes

# Puts ClosedPaw's files in place and has the guard know them, as a package would, and does nothing else.
put_files() {
    tar -C /e2e/product -cf - . | tar -C / -xf - --no-overwrite-dir --no-same-owner
    case "$guard" in
        SELinux) (cd /e2e/product && find . -type f -printf '/%P\0') | xargs -0 restorecon -F; restorecon -FR /etc/closedpaw ;;
        AppArmor) load_profile ${permissive:+--Complain} ;;
    esac
    systemctl daemon-reload
}

# load_profile [WORDS…]: has the kernel take ClosedPaw's AppArmor profile, as dh_apparmor's part of a package does.
load_profile() { apparmor_parser --replace --skip-read-cache --write-cache "$@" /etc/apparmor.d/closedpawd; }

# The whole of an installation: files, daemon from its units, alice with a key that counts.
install_closedpaw() {
    put_files
    systemctl enable --quiet --now closedpawd
    enrol alice
}

# as PERSON COMMAND…: in the person's home, with nothing of root's.
as() {
    local person=$1 home
    shift
    home=$(getent passwd "$person" | cut -d: -f6)
    (cd "$home" && exec setpriv --reuid "$person" --regid "$person" --init-groups -- \
        env -i "HOME=$home" "USER=$person" PATH=/usr/bin:/bin NO_COLOR=1 ${CLOSEDPAW_MODEL_URL:+"CLOSEDPAW_MODEL_URL=$CLOSEDPAW_MODEL_URL"} "$@")
}

# enrol PERSON: makes the key as the person and lets it count as root.
enrol() {
    local public
    usermod -aG closedpaw "$1"
    public=$(as "$1" closedpawctl key generate 2>/dev/null)
    closedpawctl key enroll --name "$1" --uid "$(id -u "$1")" --public "$public" >/dev/null
    until_true "$1's key counts" as "$1" closedpawctl status
}

# workspace PERSON NAME: a folder of the person's own; prints its path.
workspace() {
    local path
    path=$(getent passwd "$1" | cut -d: -f6)/$2
    install -d -o "$1" -g "$1" "$path"
    echo "$path"
}

# until_true WHAT COMMAND…: waits until the command succeeds; a minute and it fails.
until_true() {
    local what=$1 tries=300
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$((tries -= 1))" -gt 0 ] || { echo "waited too long: $what" >&2; return 1; }
        sleep 0.2
    done
}

# same WHAT GOT WANTED
same() {
    if [ "$2" = "$3" ]; then echo "ok: $1"; else printf 'not ok: %s\n  got:    %s\n  wanted: %s\n' "$1" "$2" "$3" >&2; return 1; fi
}

# has WHAT TEXT PART
has() {
    case "$2" in *"$3"*) echo "ok: $1" ;; *) printf 'not ok: %s\n  got:    %s\n  wanted: …%s…\n' "$1" "$2" "$3" >&2; return 1 ;; esac
}

# ok WHAT COMMAND…
ok() {
    local what=$1
    shift
    if "$@" >/tmp/ok.out 2>&1; then echo "ok: $what"; else printf 'not ok: %s\n' "$what" >&2; sed 's/^/  /' /tmp/ok.out >&2; return 1; fi
}

# fails WHAT COMMAND…
fails() {
    local what=$1
    shift
    if "$@" >/tmp/ok.out 2>&1; then printf 'not ok: %s: it succeeded\n' "$what" >&2; return 1; else echo "ok: $what"; fi
}

# shellcheck disable=SC2034 # tests read it
sandboxes=/sys/fs/cgroup/closedpaw.slice/closedpaw-sandboxes.slice/closedpaw-sandboxes.service

# The cgroups of sandboxes.
sandbox_cgroups() {
    find "$sandboxes" -mindepth 1 -maxdepth 1 -type d -not -name keeper -not -name relays
}

no_sandbox() { [ -z "$(sandbox_cgroups)" ] && [ -z "$(ls /run/closedpaw/sandboxes)" ]; }
a_sandbox() { [ -n "$(sandbox_cgroups)" ]; }

# rule NAME LINE…: a rule beside the shipped ones, in a file of its own; for a reload to take up.
rule() {
    local name=$1
    shift
    { printf 'version = 1\n[[rule]]\nname = "%s"\n' "$name"; printf '%s\n' "$@"; } >"/etc/closedpaw/policy.d/50-$name.toml"
}

# allow_program NAME PATTERN: a program that is none of those that the shipped rules allow by themselves.
allow_program() {
    rule "$1" 'allow = ["exec"]' "argv = [[\"$1\", \"$2\"]]" 'role = ["agent", "approver"]' 'labels = { untrusted = ["workspace"] }'
    systemctl reload closedpawd
}

# profile NAME ISOLATION MEMORY PIDS [LINE…]: a profile that is strict about its limits; the lines go to those.
profile() {
    local name=$1 isolation=$2 memory=$3 pids=$4
    shift 4
    {
        printf 'version = 1\n[[profile]]\nname = "%s"\nisolation = "%s"\nrequire = ["cpu", "memory", "pids"]\n' "$name" "$isolation"
        printf 'env = ["LANG"]\nmounts = { workspace = "layer" }\n[profile.limits]\nmemory = "%s"\npids = %s\n' "$memory" "$pids"
        printf 'cpu = 150\noutput = "16MiB"\nfiles = 1024\ntmp = "64MiB"\nlayer = "64MiB"\n'
        [ "$#" = 0 ] || printf '%s\n' "$@"
    } >"/etc/closedpaw/profiles.d/$name.toml"
}

# allow_in_process PROGRAM…: what the shipped rules allow in no such sandbox: to open one, and these programs with any words.
allow_in_process() {
    local programs
    programs=$(printf '["%s", "**"], ' "$@")
    rule opening-process 'allow = ["open"]' 'isolation = "process"' 'role = "approver"'
    rule work-in-process 'allow = ["exec"]' "argv = [${programs}[\"hostname\"]]" 'isolation = "process"' 'role = ["agent", "approver"]'
    systemctl reload closedpawd
}

# The newest outcome in the log, in the log's word.
outcome() { jq -r 'select(.kind == "outcome") | .outcome' /var/log/closedpaw/audit/audit.jsonl | tail -n 1; }

# disk_of PATH: the number of the whole disk that it lies on, as lsblk(8) says.
disk_of() {
    local source parent
    source=$(findmnt -no SOURCE -T "$1")
    parent=$(lsblk -ndo PKNAME "$source")
    lsblk -ndo MAJ:MIN "${parent:+/dev/}${parent:-$source}" | tr -d ' '
}

# talker COMMAND…: alice's command, one that says what it hears; it hears what is written to descriptor 7, and what it says is in
# /tmp/talk.out.
talker() {
    rm -f /tmp/talk.in /tmp/talk.out
    mkfifo /tmp/talk.in
    exec 7<>/tmp/talk.in
    (
        # Its input ends when the test closes it.
        exec </tmp/talk.in 7>&-
        status=0
        as alice "$@" >/tmp/talk.out 2>&1 || status=$?
        echo "status $status" >>/tmp/talk.out
    ) &
    say before
}

# say WORD: it goes in, and comes out.
say() {
    echo "$1" >&7
    until_true "it says $1" grep -qx "$1" /tmp/talk.out
}

# sleeper PERSON: a sandbox of the person's that runs until it is ended; waits until its work has begun.
sleeper() {
    : >/tmp/sleeper.out
    (
        status=0
        as "$1" closedpawctl run --no-workspace --quiet -- sleep 500 >/tmp/sleeper.out 2>&1 || status=$?
        echo "status $status" >>/tmp/sleeper.out
    ) &
    until_true "the sandbox's work begins, or ends" begun "$1"
    if grep status /tmp/sleeper.out; then cat /tmp/sleeper.out >&2; return 1; fi
}

# Work has begun when the daemon counts it in a sandbox that is ready.
begun() { grep -q status /tmp/sleeper.out || as "$1" closedpawctl sandbox list --json | grep -q '"running": *1'; }

# What has been refused to ClosedPaw's domains or profiles so far, or to anybody of ClosedPaw's files; where nothing is refused,
# what would have been.
denials() {
    local mark=closedpaw-mark-$RANDOM$RANDOM
    # What was refused before this is written before it.
    auditctl -m "$mark"
    until_true "the audit log is written" grep -q "$mark" /var/log/audit/audit.log
    grep -E 'avc: +denied|apparmor="(DENIED|ALLOWED)"' /var/log/audit/audit.log | grep closedpaw | tee /artifacts/denials || true
}

no_denials() { same "$guard had nothing to refuse" "$(denials)" ""; }
