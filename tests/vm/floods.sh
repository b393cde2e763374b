#!/bin/bash
# What one sandbox floods its neighbours and the host do not feel: processes, memory, disks, descriptors, in each tier. Two others
# work on meanwhile, which is counted; nothing here depends on how fast the machine is.
# time limit: 1500
# shellcheck disable=SC2154 # what guest/lib.sh sets
install_closedpaw
enrol bob
install -m 755 /dev/stdin /usr/local/bin/flood <<'SH'
#!/bin/bash
case "$1" in
    # Each makes two more, and so on; that it may not, bash tries again. All of them are gone when this one is ended for its time.
    processes) bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 600 ;;
    memory) exec dd if=/dev/zero of=/dev/null bs=900M count=1 ;;
    disk) exec dd if=/dev/zero of="$2" bs=64K ;;
    descriptors) while exec {any}</dev/null; do :; done; exit 1 ;;
esac
SH
# Says what it hears, and starts a program each time.
install -m 755 /dev/stdin /usr/local/bin/answer <<'SH'
#!/bin/bash
while read -r word; do /usr/bin/true && echo "$word"; done
SH
[ "$guard" != SELinux ] || restorecon /usr/local/bin/flood /usr/local/bin/answer
profile flood-gvisor gvisor 512MiB 200 'seconds = 20'
profile flood-process process 512MiB 200 'seconds = 20'
profile neighbour gvisor 256MiB 200 'seconds = 3600'
profile neighbour-process process 256MiB 100 'seconds = 3600'
allow_in_process flood answer echo
allow_program flood '**'
allow_program answer '*'

# neighbour NAME PERSON WORD…: a sandbox of the person's that answers, and is asked without pause; each answer is a line in NAME.count.
neighbour() {
    local name=$1 person=$2
    shift 2
    mkfifo "/tmp/$name.in" "/tmp/$name.out"
    (
        status=0
        as "$person" closedpawctl run --no-workspace --quiet "$@" -- answer on <"/tmp/$name.in" >"/tmp/$name.out" 2>"/tmp/$name.err" || status=$?
        echo "status $status" >>"/tmp/$name.err"
    ) &
    (
        exec 8>"/tmp/$name.in" 9<"/tmp/$name.out"
        asked=0
        while echo "$asked" >&8 && read -r answer <&9 && [ "$answer" = "$asked" ]; do
            asked=$((asked + 1))
            echo "$asked" >>"/tmp/$name.count"
        done
    ) &
    until_true "neighbour $name answers" test -s "/tmp/$name.count"
}
answers() { wc -l <"/tmp/$1.count"; }

# How many answers of each neighbour a flood must not keep from coming.
many=$((rounds / 2))
mark() { first=$(answers first) second=$(answers second); }
advanced() { [ "$(answers first)" -ge $((first + many)) ] && [ "$(answers second)" -ge $((second + many)) ]; }

# What else was killed for memory: in the host's own services, and in the neighbours' sandboxes.
killed() { for cgroup in /sys/fs/cgroup/system.slice "${others[@]}"; do sed -n 's/^oom_kill //p' "$cgroup/memory.events"; done | tr '\n' ' '; }

# floods WORD…: starts it in the tier; in the end there is its status.
floods() {
    : >/tmp/flood.out
    (
        status=0
        as alice closedpawctl run --workspace "$folder" --quiet --isolation "$tier" --profile "flood-$tier" -- flood "$@" >/tmp/flood.out 2>&1 || status=$?
        echo "status $status" >>/tmp/flood.out
    ) &
    flooding=$!
}
ended() { grep -q '^status ' /tmp/flood.out; }
only_neighbours() { [ "$(sandbox_cgroups | sort)" = "$(printf '%s\n' "${others[@]}")" ]; }

# in_service WHAT: everything that is not the flood's goes on.
in_service() {
    ok "$1: the daemon answers" as alice closedpawctl status
    same "$1: another sandbox starts and works" "$(as bob closedpawctl run --no-workspace --quiet -- echo works)" works
    same "$1: systemd answers" "$(systemctl is-system-running)" running
    same "$1: nobody else was killed" "$(killed)" "$calm"
    fails "$1: no neighbour has ended" grep -h status /tmp/first.err /tmp/second.err
}

# again STATUS OUTCOME PART WORD…: this flood, again and again until both neighbours have come on; each ends like that.
again() {
    local status=$1 word=$2 part=$3 rounds=0
    shift 3
    mark
    until [ "$rounds" -gt 0 ] && advanced; do
        floods "$@"
        wait "$flooding"
        same "$tier: $*: its status" "$(sed -n 's/^status //p' /tmp/flood.out)" "$status"
        has "$tier: $*: what its person is told" "$(cat /tmp/flood.out)" "$part"
        until_true "$tier: $*: what the log says: $word" is_outcome "$word"
        # What was written is staged work, of which nobody may keep much.
        until_true "$tier: $*: it is discarded" as alice closedpawctl discard --all
        [ "$((rounds += 1))" -lt 40 ] || { echo "the neighbours do not come on" >&2; return 1; }
    done
    in_service "$tier: $*"
    until_true "$tier: $*: its cgroup is gone" only_neighbours
}
has_a_name() { case "$(outcome)" in 'time limit' | 'process limit' | 'memory limit') ;; *) return 1 ;; esac; }
is_outcome() { [ "$(outcome)" = "$1" ]; }

folder=$(workspace alice project)
neighbour first alice --profile neighbour
neighbour second bob --isolation process --profile neighbour-process
mapfile -t others < <(sandbox_cgroups | sort)
same "two neighbours" "${#others[@]}" 2
calm=$(killed)

for tier in gvisor process; do
    mark
    floods processes
    until advanced; do
        # A runtime may end by it sooner than for its time.
        if ended; then
            wait "$flooding"
            until_true "$tier: processes: the outcome has a name" has_a_name
            floods processes
        fi
        sleep 0.2
    done
    in_service "$tier: processes"
    until_true "$tier: it ends" ended
    wait "$flooding"
    until_true "$tier: processes: the outcome has a name" has_a_name
    echo "ok: $tier: processes: $(outcome), $(sed -n 's/^status //p' /tmp/flood.out)"
    until_true "$tier: processes: its cgroup is gone" only_neighbours

    again 137 "memory limit" memory-limit memory
    again 1 exited "No space left on device" disk /tmp/fill
    again 1 exited "No space left on device" disk /workspace/fill
    again 1 exited "Too many open files" descriptors
done
ok "the log verifies" as alice closedpawctl audit verify
no_denials
