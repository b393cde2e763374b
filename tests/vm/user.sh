#!/bin/bash
# `closedpawctl watch` from its unit in a person's own service manager, which has no desktop and no privilege.
install_closedpaw
# A desktop, as far as the unit sees one: it must be able to start it.
install -m 755 /dev/stdin /usr/local/bin/notify-send <<'SH'
#!/bin/sh
printf '%s\n' "$@" >"$XDG_RUNTIME_DIR/notified.new" && mv "$XDG_RUNTIME_DIR/notified.new" "$XDG_RUNTIME_DIR/notified"
SH
restorecon /usr/local/bin/notify-send
loginctl enable-linger alice
runtime=/run/user/$(id -u alice)
user() { as alice env "XDG_RUNTIME_DIR=$runtime" systemctl --user --no-pager "$@"; }
until_true "alice's manager runs" user is-active default.target
same "systemd-analyze verify says nothing" \
    "$(as alice env "XDG_RUNTIME_DIR=$runtime" systemd-analyze --user verify --man=no /usr/lib/systemd/user/closedpaw.service 2>&1)" ""
ok "systemctl --user preset closedpaw" user preset closedpaw
same "no preset enables it" "$(user is-enabled closedpaw || true)" disabled
same "nobody started it" "$(user is-active closedpaw || true)" inactive

ok "systemctl --user enable --now closedpaw" user enable --now closedpaw
user --full status closedpaw || true
same "it is active" "$(user is-active closedpaw)" active
same "it says that it watches" "$(user show -P StatusText closedpaw)" watching
main=$(user show -P MainPID closedpaw)
same "it gains no privilege" "$(sed -n 's/^NoNewPrivs:\t//p' "/proc/$main/status")" 1
same "its system calls are filtered" "$(sed -n 's/^Seccomp:\t//p' "/proc/$main/status")" 2

# Headless: asked with nobody at a terminal, read in the journal.
journal() { journalctl --no-pager --output=cat _SYSTEMD_USER_UNIT=closedpaw.service; }
fails "nobody answers" as alice closedpawctl run --no-workspace -- env CANARY=1
decided() { journal | grep -q '^decided .*: no$'; }
until_true "the decision is in the journal" decided
has "so is the question" "$(journal)" "┌─ closedpaw asks: exec ─"
has "whole" "$(journal)" "CANARY=1"
until_true "the desktop is told" test -e "$runtime/notified"
has "that something is asked" "$(cat "$runtime/notified")" "closedpaw asks: exec"
fails "and not what" grep CANARY "$runtime/notified"

# A daemon that is restarted is watched again by the same process; a kill is mended by the manager.
watching() { [ "$(user show -P StatusText closedpaw)" = watching ] && [ "$(journal | grep -c '^watching;')" = "$1" ]; }
systemctl restart closedpawd
until_true "it watches again" watching 2
same "it is the same process" "$(user show -P MainPID closedpaw)" "$main"
kill -9 "$main"
until_true "its manager starts it again" watching 3
ok "stop" user stop closedpaw
same "its end is no failure" "$(user show -P Result closedpaw)" success

# Without a key no other start would mend it, and none is tried.
mv /home/alice/.config/closedpaw/approver.key /home/alice/
fails "it does not start without a key" user start closedpaw
same "it is not tried again" "$(user show -P ActiveState,ExecMainStatus,NRestarts closedpaw | sort | tr '\n' ' ')" "0 66 failed "
has "the journal says what to do" "$(journal)" "closedpawctl key generate"
