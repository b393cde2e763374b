#!/bin/bash
# The daemon's key as a sealed credential of the service: it signs with it, and no file of it is left in the open.
install_closedpaw
public=$(cat /etc/closedpaw/daemon.pub)
mkdir -p /etc/credstore.encrypted
ok "the key is sealed" systemd-creds encrypt --with-key=host --name=closedpawd.daemon-key /var/lib/closedpaw/daemon.key /etc/credstore.encrypted/closedpawd.daemon-key
rm /var/lib/closedpaw/daemon.key
systemctl restart closedpawd
same "it has the same key" "$(cat /etc/closedpaw/daemon.pub)" "$public"
fails "no file of it was made" test -e /var/lib/closedpaw/daemon.key
same "the client that pinned it is served" "$(as alice closedpawctl run --no-workspace --quiet -- echo signed)" signed
ok "the log verifies" as alice closedpawctl audit verify
