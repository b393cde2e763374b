# Shared by ./try, ./test and .ci/run: finding, building and installing what they need, and saying so.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/closedpaw
account=closedpaw

say() { printf '\033[2m·\033[0m %s\n' "$*" >&2; }
[ -t 2 ] || say() { printf '· %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Runs a command as root: as it is where we are root, with sudo elsewhere.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A step that says how long it took, if it took long.
step() {
    local what=$1 from=$SECONDS
    shift
    "$@"
    local took=$((SECONDS - from))
    [ "$took" -lt 2 ] || say "$what: ${took} s"
}

# need COMMAND-OR-FILE PACKAGE WHY: installs a Debian package if what it brings is missing.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    compgen -G "$1" >/dev/null && return
    command -v apt-get >/dev/null || die "$1 is missing ($3); install it and run this again"
    say "installing $2: $3"
    [ -n "${apt_updated:-}" ] || { as_root apt-get update -qq; apt_updated=1; }
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

need_toolchain() {
    command -v cargo >/dev/null || [ ! -r "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
    command -v cargo >/dev/null || die "Rust is missing; install it (rustup.rs) and run this again"
    need cc build-essential "linking needs a C compiler"
    need setpriv util-linux "running as an ordinary user"
}

# A digest over files that a build depends on, named relative to the repo.
digest_of() {
    (cd "$repo" && { rustc --version; find "$@" -type f -not -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-16)
}

# The account of the judge, and the group that may connect.
need_account() {
    getent passwd "$account" >/dev/null && return
    say "making the system user $account: the daemon's unprivileged half runs as it"
    as_root useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$account"
}

# ordinary NAME WHY: an ordinary user who may talk to the daemon.
ordinary() {
    if ! getent passwd "$1" >/dev/null; then
        say "making the ordinary user $1: $2"
        as_root useradd --create-home --user-group --shell /bin/bash "$1"
    fi
    id -nG "$1" | tr ' ' '\n' | grep -qx "$account" || as_root usermod -aG "$account" "$1"
}

# Sets $runsc to a gVisor with systrap: the system's, or Debian 13's from this machine's own package sources.
need_runsc() {
    if [ -x /usr/bin/runsc ] && [ "$(/usr/bin/runsc --version | sed -n 's/.*0~\([0-9]\{8\}\).*/\1/p;s/.*release-\([0-9]\{8\}\).*/\1/p')" -ge 20230601 ] 2>/dev/null; then
        runsc=/usr/bin/runsc
        return
    fi
    if grep -q '^VERSION_CODENAME=trixie' /etc/os-release; then
        need /usr/bin/runsc runsc "the sandbox is gVisor's runsc"
        runsc=/usr/bin/runsc
        return
    fi
    runsc=$cache/runsc-trixie/usr/bin/runsc
    [ ! -x "$runsc" ] || return 0
    say "fetching gVisor's runsc of Debian 13: the sandbox is gVisor, and this release has none that is new enough"
    step "runsc" fetch_package trixie runsc
}

# Sets $shims to a folder with two containerds, whose shims answer their start in the two forms that there are: Debian 12's in
# `plain`, that of the release after 13 in `object`. Nothing of them runs but what a test starts.
need_shims() {
    shims=$cache/containerd
    local form suite
    while read -r form suite; do
        [ ! -x "$shims/$form/containerd-shim-runc-v2" ] || continue
        say "fetching containerd's shim of Debian's $suite: the tests of the tier kata drive a real one"
        step "containerd" fetch_package "$suite" containerd
        rm -rf "${shims:?}/$form"
        mkdir -p "$shims"
        mv "$cache/containerd-$suite/usr/bin" "$shims/$form"
        rm -rf "$cache/containerd-$suite"
    done <<<$'plain bookworm\nobject forky'
}

# package_source DIR SUITE…: sets $apt_options to Debian of other suites than this machine's. The source is the machine's own
# with the suite replaced, checked by apt as always.
package_source() {
    local work=$1 source
    shift
    mkdir -p "$work"/{lists/partial,archives/partial}
    source=$( (cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true) |
        sed -n 's/^URIs: *//p;s/^deb [^h]*\(https\?:[^ ]*\) .*/\1/p' | sed -n 1p)
    [ -n "$source" ] || die "no Debian package source is configured"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
        "$source" "$*" >"$work/package.sources"
    apt_options=(-o "Dir::Etc::sourcelist=$work/package.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache::archives=$work/archives" -o APT::Sandbox::User=root -o Acquire::Languages=none)
}

# fetch_package SUITE PACKAGE: what a package of Debian's holds, in $cache/PACKAGE-SUITE.
fetch_package() {
    local suite=$1 package=$2 work
    work=$(mktemp -d)
    package_source "$work" "$suite"
    (cd "$work" && as_root apt-get "${apt_options[@]}" update -qq && as_root apt-get "${apt_options[@]}" download -qq "$package") >&2
    mkdir -p "$cache"
    dpkg-deb -x "$work/$package"_*.deb "$work/root"
    rm -rf "$cache/$package-$suite"
    cp -r "$work/root" "$cache/$package-$suite"
    as_root rm -rf "$work"
}

# build_static: init, relay, process and unpack, without a loader: init runs where there may be no library.
build_static() {
    (cd "$repo" && RUSTFLAGS="-C target-feature=+crt-static" cargo build $quiet --locked --profile small -p closedpaw-sandbox -p closedpaw-images \
        --target x86_64-unknown-linux-gnu --target-dir target/static)
}

build_programs() {
    (cd "$repo" && cargo build $quiet --locked --release -p closedpawd -p closedpawctl -p closedpaw-shim)
}

# Sets $model to the embedded model's program, built once for each state of its sources.
need_model() {
    local key
    key=$(digest_of model Cargo.lock)
    model=$cache/build/model-$key/closedpaw-model
    [ ! -x "$model" ] || return 0
    need cmake cmake "the embedded model is built from llama.cpp"
    need c++ g++ "the embedded model is built from llama.cpp"
    need '/usr/lib/llvm-*/lib/libclang.so' libclang-dev "the embedded model's bindings are generated"
    say "building the embedded model's program: some minutes, once"
    step "embedded model" build_model
    mkdir -p "$(dirname "$model")"
    cp "$cache/build/model-target/release/closedpaw-model" "$model"
}

build_model() {
    (cd "$repo" && CARGO_TARGET_DIR="$cache/build/model-target" cargo build $quiet --locked --release -p closedpaw-model)
}

# install_programs PREFIX: what was built, owned by root, where only root can change it.
install_programs() {
    as_root install -d -m 755 "$1" "$1/bin" "$1/libexec" "$1/libexec/closedpaw"
    as_root install -m 755 "$repo"/target/release/closedpaw{d,ctl} "$1/bin/"
    as_root install -m 755 "$repo"/target/static/x86_64-unknown-linux-gnu/small/closedpaw-{init,relay,process,unpack} "$1/libexec/closedpaw/"
    as_root install -m 755 "$repo/target/release/closedpaw-shim" "$1/libexec/closedpaw/"
    as_root install -m 755 "$model" "$1/libexec/closedpaw/closedpaw-model"
}

# Cargo's own progress where somebody watches.
quiet=
[ -t 2 ] || quiet=--quiet
