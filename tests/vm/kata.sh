#!/bin/bash
# A sandbox of Kata Containers' own, from the unpacked release that CLOSEDPAW_KATA_DIR names: a machine within this machine.
# needs: CLOSEDPAW_KATA_DIR
# time limit: 1800
# shellcheck disable=SC2154 # what guest/lib.sh sets
# There are no rules for a hypervisor yet.
setenforce 0
# shellcheck disable=SC2034 # guest/run reads it
denials_meant=yes
modprobe kvm_amd
modprobe vhost_vsock
mkdir -p /opt/kata
mount --bind /e2e/kata /opt/kata
put_files
install -D -m 644 /e2e/guest/kata.conf /etc/systemd/system/closedpawd.service.d/kata.conf
mkdir -p /run/kata-containers /run/vc /run/containerd
systemctl daemon-reload
closedpawd pin --kata
systemctl enable --quiet --now closedpawd
enrol alice
cat >/etc/closedpaw/profiles.d/machine.toml <<'TOML'
version = 1
[[profile]]
name      = "machine"
isolation = "kata"
mounts    = { workspace = "layer" }
[profile.limits]
memory  = "256MiB"
pids    = 100
cpu     = 100
seconds = 900
output  = "16MiB"
files   = 1024
tmp     = "64MiB"
layer   = "64MiB"
TOML
rule opening 'allow = ["open"]' 'isolation = "kata"' 'role = "approver"'
rule work 'allow = ["exec"]' 'argv = [["echo", "**"], ["cat", "**"], ["touch", "*"], ["uname", "**"], ["sleep", "*"]]' \
    'isolation = "kata"' 'role = ["agent", "approver"]'
systemctl reload closedpawd
ok "everything that a machine needs is here" as alice closedpawctl doctor
folder=$(workspace alice project)
echo "as it was" >"$folder/kept"
run=(closedpawctl run --workspace "$folder" --quiet --isolation kata --profile machine --)
same "it works, past the start gate" "$(as alice "${run[@]}" cat kept)" "as it was"
fails "with a kernel of its own" test "$(as alice "${run[@]}" uname -r)" = "$(uname -r)"
ok "it writes into the layer" as alice "${run[@]}" touch /workspace/made
same "and nowhere else" "$(ls "$folder")" kept
until_true "nothing is left of it" no_sandbox
fails "no hypervisor runs on" pgrep -f 'qemu-system|cloud-hypervisor|containerd-shim-kata-v2'
ok "the log verifies" as alice closedpawctl audit verify
