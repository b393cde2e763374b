#!/bin/bash
# An edited policy is in force when `systemctl reload` returns; one with an error changes nothing, and says so.
install_closedpaw
no_echo() { rule no-echo 'deny = ["exec"]' 'argv = [["echo", "**"]]'; }
in_sandbox() { as alice closedpawctl run --no-workspace --quiet -- "$@"; }
same "allowed as shipped" "$(in_sandbox echo hello)" hello
no_echo
ok "reload" systemctl reload closedpawd
fails "what is denied from now on is not done" in_sandbox echo hello
same "the rest is" "$(in_sandbox printf hello)" hello
echo 'version = 1 [[' >/etc/closedpaw/policy.d/60-broken.toml
systemctl reload closedpawd
has "systemd's status says that the old policy stays" "$(systemctl show -P StatusText closedpawd)" "has errors"
fails "and it does" in_sandbox echo hello
rm /etc/closedpaw/policy.d/{50-no-echo,60-broken}.toml
ok "reload" systemctl reload closedpawd
same "status again" "$(systemctl show -P StatusText closedpawd)" serving
same "allowed again" "$(in_sandbox echo hello)" hello
# Without systemctl: the daemon sees that the folder changed.
no_echo
until_true "an edit alone is enough" sh -c 'grep -c "\"kind\":\"policy\"" /var/log/closedpaw/audit/audit.jsonl | grep -qx "[4-9]"'
fails "denied again" in_sandbox echo hello
ok "the log verifies" as alice closedpawctl audit verify
