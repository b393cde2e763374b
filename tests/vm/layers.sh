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
# Landlock's last system call is another one, which always succeeds (sched_yield): the daemon believes that the layer is there.
landlock() {
    systemctl stop closedpawd.socket closedpawd
    if [ "$1" = off ]; then
        cp /usr/sbin/closedpawd /opt/breakout/closedpawd
        same "one place restricts" "$(perl -0777 -pi -e '$n = s/\xbf\xbe\x01\0\0/\xbf\x18\0\0\0/g; print STDERR $n' /usr/sbin/closedpawd 2>&1)" 1
    else
        cp /opt/breakout/closedpawd /usr/sbin/closedpawd
    fi
    restorecon -F /usr/sbin/closedpawd
    systemctl start closedpawd.socket
}
broken broken
landlock off
broken no-landlock
landlock on
setenforce 0
broken no-selinux
networked=(PrivateNetwork=no RestrictAddressFamilies= IPAddressDeny=)
broken networked "${networked[@]}"
landlock off
broken no-landlock-either "${networked[@]}"
landlock on
setenforce 1

same "with every layer in place nothing is reached" "$(grep -v ' stopped ' /artifacts/all || true)" ""
same "nor with a broken gVisor, but for a namespace of its own" "$(grep ' reached' /artifacts/broken)" "make-a-user-namespace reached"
has "categories are what keeps it from a neighbour" "$(cat /artifacts/no-selinux)" "change-another-sandbox reached"
has "Landlock keeps it from the network, where nothing else does" "$(cat /artifacts/networked)" "reach-the-network stopped"
has "as is seen without it" "$(cat /artifacts/no-landlock-either)" "reach-the-network reached"
has "and from abstract sockets" "$(cat /artifacts/networked)" "reach-an-abstract-socket stopped"
has "as is seen without it, too" "$(cat /artifacts/no-landlock-either)" "reach-an-abstract-socket reached"

# The table: a cell says what stopped it, a bold one that nothing did.
columns=(all namespaces no-seccomp broken no-landlock no-selinux networked no-landlock-either)
{
    echo '| attempt | all layers | no gVisor | no gVisor, no seccomp | gVisor broken | and no Landlock | and no SELinux | and no SELinux, a network | and no Landlock either |'
    echo '|---|---|---|---|---|---|---|---|---|'
    while read -r attempt _; do
        printf '| %s |' "${attempt//-/ }"
        for column in "${columns[@]}"; do printf ' %s |' "$(cell "$attempt" "$column")"; done
        echo
    done </artifacts/all
} >/artifacts/table.md
