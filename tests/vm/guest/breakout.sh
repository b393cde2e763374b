# For tests of what a sandbox that is broken reaches: what there is to reach, and a program that tries to. Sourced after lib.sh,
# with the daemon installed and bob's key enrolled.
# shellcheck shell=bash

install -m 755 /e2e/bin/breakout /usr/local/bin/breakout
mkdir -p /opt/breakout
install /e2e/bin/breakout /opt/breakout/runsc
install -o bob -m 600 /dev/null /home/bob/secret
/e2e/bin/breakout listen 11600 breakout >/tmp/listen.out &
until_true "there is something to reach" grep -q listening /tmp/listen.out

# Says what there is to reach: bob's sandbox, the daemon, the host's own.
host() {
    neighbour=$(find /run/closedpaw/sandboxes -mindepth 1 -maxdepth 1 -printf '%f\n')
    cat >/opt/breakout/host <<HOST
kernel=$(uname -r)
key=/var/lib/closedpaw/daemon.key
log=/var/log/closedpaw/audit/audit.jsonl
home=/home/bob/secret
keys=/etc/closedpaw/keys.d
socket=/run/closedpaw/closedpawd.sock
port=127.0.0.1:11600
abstract=breakout
neighbour=/run/closedpaw/sandboxes/$neighbour/config.json
neighbour-process=$(pgrep -f "boot.*$neighbour")
daemon=$(systemctl show -P MainPID closedpawd)
disk=/dev/vda
device=$(stat -c %r /dev/vda)
HOST
}

# broken COLUMN [LINES…]: gVisor is broken. What broke it runs in its place, as the launcher started it with these lines in its unit,
# while bob's sandbox is a true one. What it reached is in the artifact COLUMN.
broken() {
    local column=$1 lines
    shift
    mkdir -p /run/systemd/system/closedpawd.service.d
    { echo '[Service]'; [ "$#" = 0 ] || printf '%s\n' "$@"; } >/run/systemd/system/closedpawd.service.d/layers.conf
    closedpawd pin /usr/bin/runsc
    systemctl daemon-reload
    # Not restarted: bob's sandbox would go on.
    systemctl stop closedpawd.socket closedpawd
    systemctl start closedpawd.socket closedpawd
    until_true "bob is told that his sandbox ended" grep -q status /tmp/sleeper.out
    sleeper bob
    host
    # The launcher reads the pin again when what it had pinned is gone.
    mv /usr/bin/runsc /usr/bin/runsc.away
    fails "nothing runs without a runtime" as alice closedpawctl run --no-workspace --quiet -- true
    mv /usr/bin/runsc.away /usr/bin/runsc
    closedpawd pin /opt/breakout/runsc
    lines=$(wc -l </run/closedpaw/runsc.log)
    fails "a broken runtime is no sandbox" as alice closedpawctl run --no-workspace --quiet -- true
    rm -f /etc/closedpaw/keys.d/breakout.new /tmp/breakout-disk
    tail -n "+$((lines + 1))" /run/closedpaw/runsc.log | grep -E '^[a-z-]+ (reached|stopped)' >"/artifacts/$column"
}

# cell ATTEMPT COLUMN: what stopped it, in the words of the tables in docs/ISOLATION.md; bold if nothing did.
cell() {
    local outcome
    outcome=$(sed -n "s/^$1 //p" "/artifacts/$2" | sed 's/^stopped //; s/ (os error [0-9]*)$//')
    case "$outcome" in
        reached) echo '**reached**' ;;
        'No such file or directory' | 'No such process' | empty) echo 'not there' ;;
        'Connection refused' | 'Address family not supported by protocol') echo 'no network' ;;
        'Permission denied' | 'Operation not permitted') echo 'refused' ;;
        'Read-only file system') echo 'read-only' ;;
        *) echo 'own kernel' ;;
    esac
}

# table FIRST HEAD COLUMN…: the table of docs/ISOLATION.md, of the attempts in the artifact FIRST: a cell says what stopped an attempt,
# a bold one that nothing did.
table() {
    local first=$1 head=$2 attempt column
    shift 2
    {
        echo "| attempt | $head |"
        printf '|---'
        printf '|---%.0s' "$@"
        echo '|'
        while read -r attempt _; do
            printf '| %s |' "${attempt//-/ }"
            for column in "$@"; do printf ' %s |' "$(cell "$attempt" "$column")"; done
            echo
        done <"/artifacts/$first"
    } >/artifacts/table.md
}
