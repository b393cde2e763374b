#!/bin/bash
# Which layer stops what: the same attempts to break out, with one layer at a time taken away. The table is docs/ISOLATION.md's.
# time limit: 600
install_closedpaw
enrol bob
allow_program sleep '*'
allow_program breakout '**'
denials_meant=yes
# shellcheck source=tests/vm/guest/breakout.sh
. /e2e/guest/breakout.sh
sleeper bob
host
mapfile -t host </opt/breakout/host

# Every attempt succeeds for root with nothing around it, or it would show nothing.
unshare --mount /usr/local/bin/breakout "${host[@]}" >/tmp/none
rm -f /etc/closedpaw/keys.d/breakout.new /tmp/breakout-disk
same "an attempt that root itself cannot make is none" "$(grep -v ' reached$' /tmp/none || true)" ""

# Everything in place.
as alice closedpawctl run --no-workspace --quiet -- breakout "${host[@]}" >/artifacts/all

# gVisor replaced by plain namespaces: runc, with the launcher's own configuration of the sandbox.
plain() {
    local bundle=/run/plain-$1
    mkdir "$bundle"
    jq -c --rawfile host /opt/breakout/host "$2"' | del(.linux.cgroupsPath, .linux.resources)
        | .process.args = (["/usr/local/bin/breakout"] + ($host | rtrimstr("\n") / "\n"))
        | .mounts += [{destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"]}]' \
        "/run/closedpaw/sandboxes/$neighbour/config.json" >"$bundle/config.json"
    runc run --bundle "$bundle" "plain-$1" </dev/null >"/artifacts/$1"
}
plain namespaces .
plain no-seccomp 'del(.linux.seccomp)'

chcon -t closedpaw_runtime_exec_t /opt/breakout/runsc
# patched LAYER…: a daemon that believes that it has taken these layers on. Their last call is another one, which always succeeds:
# sched_yield(2) for landlock_restrict_self(2) and for capset(2), PR_GET_KEEPCAPS for PR_CAPBSET_DROP.
patched() {
    local layer place
    systemctl stop closedpawd.socket closedpawd
    [ -e /opt/breakout/closedpawd ] || cp /usr/sbin/closedpawd /opt/breakout/closedpawd
    cp /opt/breakout/closedpawd /usr/sbin/closedpawd
    for layer in "$@"; do
        case "$layer" in
            landlock) place='s/\xbf\xbe\x01\0\0/\xbf\x18\0\0\0/g' ;;
            capset) place='s/\xbf\x7e\0\0\0/\xbf\x18\0\0\0/g' ;;
            bounding) place='s/\xbf\x18\0\0\0(?=(\x31[\xc0-\xff]){3}\xff\x15)/\xbf\x07\0\0\0/g' ;;
        esac
        same "one place does it: $layer" "$(perl -0777 -pi -e "\$n = $place; print STDERR \$n" /usr/sbin/closedpawd 2>&1)" 1
    done
    restorecon -F /usr/sbin/closedpawd
    systemctl start closedpawd.socket
}
# All capabilities that there are, but for the two that go with devices (without a /dev of its own no gVisor starts at all): the unit's
# bounding set, what takes some out of it besides, and the launcher's own part.
wide=(CapabilityBoundingSet=~ ProtectKernelModules=no ProtectKernelLogs=no ProtectKernelTunables=no ProtectClock=no ProtectHostname=no)
networked=(PrivateNetwork=no RestrictAddressFamilies= IPAddressDeny=)
broken broken
patched landlock
broken no-landlock
patched capset bounding
broken wide "${wide[@]}"
all=$(sed -n 's/^CapBnd:\t0*//p' /proc/self/status)
same "the launcher has them all but mknod and sys_rawio" "$(sed -n 's/^CapEff:\t0*//p' "/proc/$(systemctl show -P MainPID closedpawd)/status")" \
    "$(printf %x $((16#$all & ~(1 << 27 | 1 << 17))))"
setenforce 0
broken wide-no-selinux "${wide[@]}"
patched
broken no-selinux
broken networked "${networked[@]}"
patched landlock
broken no-landlock-either "${networked[@]}"
patched
setenforce 1

same "with every layer in place nothing is reached" "$(grep -v ' stopped ' /artifacts/all || true)" ""
same "nor with a broken gVisor, but for a namespace of its own" "$(grep ' reached' /artifacts/broken)" "make-a-user-namespace reached"
same "nor with one that has all capabilities" "$(grep ' reached' /artifacts/wide)" "make-a-user-namespace reached"
fails "which make a difference where SELinux is not" cmp -s /artifacts/no-selinux /artifacts/wide-no-selinux
has "categories are what keeps it from a neighbour" "$(cat /artifacts/no-selinux)" "change-another-sandbox reached"
has "Landlock keeps it from the network, where nothing else does" "$(cat /artifacts/networked)" "reach-the-network stopped"
has "as is seen without it" "$(cat /artifacts/no-landlock-either)" "reach-the-network reached"
has "and from abstract sockets" "$(cat /artifacts/networked)" "reach-an-abstract-socket stopped"
has "as is seen without it, too" "$(cat /artifacts/no-landlock-either)" "reach-an-abstract-socket reached"

table all 'all layers | no gVisor | no gVisor, no seccomp | gVisor broken | and no Landlock | and all capabilities | and no SELinux | and no SELinux, all capabilities | and no SELinux, a network | and no Landlock either' \
    all namespaces no-seccomp broken no-landlock wide no-selinux wide-no-selinux networked no-landlock-either
