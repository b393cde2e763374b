//! Programs that can be told to run another: data, to be reviewed as data.
//!
//! Found in their manuals (GNU coreutils, findutils, tar, util-linux, procps; POSIX for the shells and editors). A name
//! matches with a version behind it (`python3.13`, `gcc-14`) and behind a target (`x86_64-linux-gnu-gcc`).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How a program comes to run what it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By its operands: a script, a program. Harmless as long as each is a file of `/usr`.
    Operands,
    /// By one of these options only. A long one also in every shorter spelling, one letter also within a cluster.
    Options(&'static [&'static str]),
    /// By files it looks for itself (a makefile, a startup file, a repository's hooks) or by commands it reads.
    Always,
}

/// Some programs, how they do it, and why they are here.
pub(crate) struct Family {
    pub(crate) names: &'static [&'static str],
    pub(crate) how: How,
    pub(crate) reason: &'static str,
}

use How::{Always, Operands, Options};

const fn family(names: &'static [&'static str], how: How, reason: &'static str) -> Family {
    Family { names, how, reason }
}

/// Every family. A `*` at the end of a name stands for anything.
#[rustfmt::skip]
pub(crate) const FAMILIES: &[Family] = &[
    // Shells.
    family(&["sh", "bash", "dash", "rbash", "ash", "zsh", "ksh", "mksh", "lksh", "oksh", "pdksh", "csh", "tcsh", "fish", "yash", "posh", "rc", "es", "elvish", "nu", "xonsh", "pwsh", "osh", "busybox", "toybox"], Operands, "a shell runs what it is given"),
    // Interpreters.
    family(&["python", "pypy", "ipython", "bpython", "perl", "raku", "ruby", "jruby", "irb", "node", "nodejs", "deno", "bun", "tsx", "ts-node", "php", "php-cgi", "phpdbg", "lua", "luajit", "texlua", "tclsh", "jimsh", "wish", "expect", "guile", "gosh", "racket", "sbcl", "clisp", "ecl", "scheme", "chicken-csi", "csi", "ocaml", "ocamlrun", "swipl", "gprolog", "erl", "escript", "elixir", "iex", "julia", "R", "Rscript", "octave", "octave-cli", "groovy", "scala", "kotlin", "java", "jshell", "mono", "dotnet", "wine", "wine64", "gjs", "qjs", "d8", "awk", "gawk", "mawk", "nawk", "original-awk", "sed", "gsed", "m4", "gforth", "crystal", "bats", "rename", "prename", "file-rename", "perl5*", "perldoc", "pkexec"], Operands, "an interpreter runs what it is given"),
    // Launchers: their operands are a program and its arguments.
    family(&["env", "xargs", "parallel", "timeout", "nice", "nohup", "time", "stdbuf", "unbuffer", "setsid", "watch", "flock", "script", "scriptreplay", "strace", "ltrace", "taskset", "ionice", "chrt", "numactl", "prlimit", "choom", "uclampset", "setarch", "linux32", "linux64", "i386", "x86_64", "uname26", "sudo", "sudoedit", "su", "doas", "runuser", "setpriv", "capsh", "sg", "newgrp", "run0", "chroot", "unshare", "nsenter", "bwrap", "firejail", "systemd-run", "systemd-nspawn", "systemd-inhibit", "systemd-cat", "start-stop-daemon", "daemonize", "daemon", "chpst", "softlimit", "setuidgid", "envdir", "run-parts", "run-one", "ifne", "chronic", "mispipe", "pee", "vipe", "vidir", "entr", "fakeroot", "fakechroot", "proot", "faketime", "eatmydata", "catchsegv", "valgrind", "perf", "bpftrace", "gdbserver", "rr", "qemu-*", "cgexec", "dbus-run-session", "dbus-launch", "ssh-agent", "xvfb-run", "xdg-open", "open", "command", "exec", "builtin", "eval", "coreutils", "runcon", "torsocks", "torify", "proxychains*", "chpasswd", "logsave", "errno", "hyperfine", "reptyr", "dtach", "abduco", "tini", "dumb-init", "gosu", "su-exec", "s6-*", "execlineb", "ld.so", "ld-linux*", "ld-musl*", "ld64.so*"], Operands, "it runs the program it is given"),
    // By option.
    family(&["find", "gfind"], Options(&["-exec", "-execdir", "-ok", "-okdir"]), "`-exec` and its like run a program"),
    family(&["fd", "fdfind"], Options(&["--exec", "--exec-batch", "-x", "-X"]), "`--exec` runs a program"),
    family(&["rg"], Options(&["--pre", "--hostname-bin"]), "`--pre` runs a program"),
    family(&["sort"], Options(&["--compress-program"]), "`--compress-program` runs a program"),
    family(&["split"], Options(&["--filter"]), "`--filter` runs a command"),
    family(&["install", "ginstall"], Options(&["--strip-program", "--strip", "-s"]), "`--strip-program` runs a program"),
    family(&["diff3", "sdiff"], Options(&["--diff-program"]), "`--diff-program` runs a program"),
    family(&["wget", "wget2"], Options(&["--use-askpass", "--config", "--execute", "-e"]), "`--use-askpass` runs a program"),
    family(&["ar", "nm", "ranlib", "strip", "objdump", "objcopy", "size", "ld", "ld.bfd", "ld.gold", "ld.lld", "lld", "mold", "as"], Options(&["--plugin", "-plugin", "@"]), "`--plugin` loads code"),
    // Archives, copies over the network.
    family(&["tar", "gtar", "bsdtar", "star", "pax"], Always, "`--to-command`, `-I` and `--checkpoint-action` run programs, in every spelling"),
    family(&["cpio", "zip", "unzip", "7z", "7za", "7zr", "rar", "unrar"], Always, "options and remote archives run programs"),
    family(&["ssh", "scp", "sftp", "sshfs", "rsync", "rsh", "rcp", "rlogin", "slogin", "mosh", "autossh", "sshpass", "socat", "nc", "ncat", "netcat", "telnet", "ftp", "lftp", "tnftp", "rclone"], Always, "`-e`, `-o ProxyCommand` and the like run programs"),
    // Build tools and package managers.
    family(&["make", "gmake", "bmake", "cmake", "ctest", "cpack", "ninja", "meson", "bazel", "bazelisk", "buck", "buck2", "scons", "waf", "ant", "mvn", "gradle", "rake", "just", "task", "tup", "redo", "libtool", "libtoolize", "autoconf", "automake", "autoreconf", "configure", "aclocal", "sbt", "lein", "rebar3", "mix", "dune", "cabal", "stack", "zig", "earthly"], Always, "a build file says what runs"),
    family(&["cargo", "rustc", "rustdoc", "rustup", "clippy-driver", "go", "npm", "npx", "pnpm", "pnpx", "yarn", "yarnpkg", "corepack", "bunx", "pip", "pipx", "pipenv", "poetry", "uv", "uvx", "hatch", "tox", "nox", "pytest", "py.test", "conda", "mamba", "gem", "bundle", "bundler", "composer", "cpan", "cpanm", "luarocks", "opam", "nuget", "ghc", "ghci", "runghc", "runhaskell", "swift", "swiftc", "nim", "nimble", "dub", "dmd", "jest", "vitest", "mocha", "eslint", "prettier", "webpack", "vite", "tsc", "ava", "tap", "phpunit", "rspec", "pre-commit", "black", "mypy", "pylint"], Always, "a project's own files say what runs"),
    family(&["gcc", "cc", "c++", "g++", "clang", "clang++", "cpp", "tcc", "gfortran", "gnat*", "c89", "c99", "collect2", "cc1*", "lto-wrapper", "distcc", "ccache", "javac", "kotlinc", "scalac", "protoc", "bison", "yacc", "flex", "lex", "gperf", "swig"], Always, "`-B`, `-wrapper` and plugins run programs"),
    // Version control and its hooks.
    family(&["git", "git-*", "gitk", "tig", "lazygit", "hg", "svn", "svn*", "cvs", "bzr", "brz", "fossil", "darcs", "jj", "gh", "glab", "repo", "quilt", "patch", "etckeeper", "ldd"], Always, "hooks, filters, pagers and `-c` run programs"),
    // Editors, pagers, file managers, browsers.
    family(&["vi", "vim", "vim.*", "nvim", "view", "rview", "rvim", "ex", "vimdiff", "vimtutor", "gvim", "elvis", "nvi", "ed", "red", "nano", "pico", "rnano", "emacs", "emacs-*", "emacsclient", "xemacs", "zile", "mg", "jed", "joe", "micro", "hx", "helix", "kak", "mcedit", "mc", "ranger", "nnn", "lf", "vifm", "code", "codium", "editor", "sensible-*", "select-editor"], Always, "an editor runs commands"),
    family(&["less", "lesspipe", "more", "most", "pg", "pager", "man", "apropos", "whatis", "info", "pinfo", "bat", "batcat", "delta", "w3m", "lynx", "links", "elinks", "www-browser", "x-www-browser", "fzf", "sk", "dialog", "whiptail"], Always, "a pager runs commands"),
    family(&["mail", "mailx", "mutt", "neomutt", "sendmail", "procmail", "fetchmail", "maildrop", "formail"], Always, "mail programs run filters and commands"),
    // Debuggers, databases, calculators, documents.
    family(&["gdb", "gdb-*", "lldb", "lldb-*", "dbx", "pdb", "crash", "radare2", "r2", "rizin"], Always, "a debugger runs programs and commands"),
    family(&["sqlite", "sqlite3", "psql", "mysql", "mariadb", "mongo", "mongosh", "redis-cli", "isql", "sqlcmd", "duckdb"], Always, "a database's shell runs commands"),
    family(&["dc", "gnuplot", "maxima", "gp", "units"], Always, "`!` runs a command"),
    family(&["tex", "latex", "pdftex", "pdflatex", "xetex", "xelatex", "luatex", "lualatex", "latexmk", "context", "bibtex", "biber", "groff", "troff", "nroff", "gs", "ghostscript", "ps2*", "convert", "magick", "mogrify", "identify", "composite", "display", "pandoc", "asciidoctor", "sphinx-build", "doxygen", "inkscape", "soffice", "libreoffice"], Always, "documents and delegates run programs"),
    family(&["openssl", "gpg", "gpg2", "gpgsm", "gpg-*", "pinentry*"], Always, "engines, agents and viewers are programs or libraries it is told"),
    // Sessions, schedules, services, packages, containers.
    family(&["tmux", "screen", "byobu", "zellij", "at", "batch", "atd", "crontab", "cron", "anacron", "logrotate", "systemctl", "journalctl", "loginctl", "machinectl", "busctl", "init", "telinit", "openrc", "rc-service", "service", "invoke-rc.d", "visudo", "vipw", "vigr", "crontabs", "udevadm", "modprobe", "insmod", "kmod", "agetty", "getty", "login", "sulogin", "ip", "tc", "tcpdump", "nmap", "tshark", "wireshark"], Always, "it runs commands, now or later"),
    family(&["dpkg", "dpkg-*", "apt", "apt-*", "aptitude", "rpm", "rpmbuild", "rpm2cpio", "dnf", "yum", "zypper", "pacman", "makepkg", "apk", "snap", "flatpak", "nix", "nix-*", "guix", "brew", "port", "emerge", "debootstrap", "mmdebstrap", "alien", "debuild", "update-alternatives"], Always, "packages bring scripts"),
    family(&["docker", "podman", "buildah", "skopeo", "nerdctl", "ctr", "crictl", "runc", "crun", "runsc", "kata-*", "lxc", "lxc-*", "incus", "kubectl", "helm", "k9s", "oc", "minikube", "kind", "vagrant", "virsh", "terraform", "tofu", "pulumi", "ansible", "ansible-*", "puppet", "chef*", "salt*", "packer", "aws", "gcloud", "az"], Always, "it runs programs, here or elsewhere"),
];

/// The names that stand for themselves and their versions.
static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Family>> = LazyLock::new(|| {
    let named = |family: &'static Family| family.names.iter().map(move |name| (*name, family));
    FAMILIES.iter().flat_map(named).filter(|(name, _)| !name.ends_with('*')).collect()
});

/// The beginnings of names.
static BY_BEGINNING: LazyLock<Vec<(&'static str, &'static Family)>> = LazyLock::new(|| {
    let named = |family: &'static Family| family.names.iter().map(move |name| (name, family));
    FAMILIES
        .iter()
        .flat_map(named)
        .filter_map(|(name, family)| Some((name.strip_suffix('*')?, family)))
        .collect()
});

/// The family of a program by the last part of its path.
pub(crate) fn family_of(program: &str) -> Option<&'static Family> {
    let name = program.rsplit('/').next().unwrap_or(program);
    // Debian's cross compilers and interpreters: x86_64-linux-gnu-gcc-14.
    let native = name.rsplit("-linux-gnu-").next().unwrap_or(name);
    family_named(native).or_else(|| if native == name { None } else { family_named(name) })
}

fn family_named(name: &str) -> Option<&'static Family> {
    let versions = name.char_indices().filter(|(_, letter)| matches!(letter, '0'..='9' | '-' | '.'));
    let mut stems =
        versions.filter_map(|(at, _)| name.split_at_checked(at)).filter(|(_, tail)| is_version(tail));
    let begins = || BY_BEGINNING.iter().find(|(beginning, _)| name.starts_with(beginning));
    BY_NAME
        .get(name)
        .or_else(|| stems.find_map(|(stem, _)| BY_NAME.get(stem)))
        .copied()
        .or_else(|| begins().map(|(_, family)| *family))
}

/// What distributions put behind a name: `3`, `3.13`, `-14`, `3.13t`, `3-dbg`.
fn is_version(tail: &str) -> bool {
    let digits = tail.strip_prefix(['-', '.']).unwrap_or(tail);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && is_flavour(digits.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-')))
}

/// Builds of one version: debugging, free-threaded, with assertions.
fn is_flavour(tail: &str) -> bool {
    matches!(tail, "" | "t" | "d" | "td" | "m" | "dm" | "dbg" | "stable" | "nightly" | "beta" | "jit")
}

/// A program of the table that a first word beginning like this could be.
pub(crate) fn could_begin(prefix: &str) -> Option<&'static str> {
    if prefix.contains('/') {
        // The star would reach over further folders.
        return Some("any program below it");
    }
    let names = FAMILIES.iter().flat_map(|family| family.names.iter().copied());
    names.into_iter().find(|known| {
        let stem = known.trim_end_matches('*');
        let tail = prefix.strip_prefix(stem);
        stem.starts_with(prefix) || tail.is_some_and(|tail| known.ends_with('*') || begins_version(tail))
    })
}

fn begins_version(tail: &str) -> bool {
    let digits = tail.strip_prefix(['-', '.']).unwrap_or(tail);
    digits.is_empty() || digits.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_last_part_with_version_and_target() {
        for program in [
            "bash",
            "/usr/bin/bash",
            "python3",
            "python3.13",
            "python3.13t",
            "python3-dbg",
            "perl5.36.0",
            "gcc-14",
            "x86_64-linux-gnu-gcc-14",
            "/lib64/ld-linux-x86-64.so.2",
            "git-upload-pack",
            "php8.4",
            "lua5.4",
            "[",
            "busybox",
            "qemu-x86_64",
            "clang-19",
            "vim.tiny",
            "env",
            "time",
            "tclsh8.6",
            "node22",
        ] {
            assert_eq!(family_of(program).is_some(), program != "[", "{program}");
        }
    }

    #[test]
    fn a_harmless_neighbour_is_not_caught() {
        for program in [
            "ls",
            "cat",
            "wc",
            "sha256sum",
            "md5sum",
            "stat",
            "head",
            "tail",
            "grep",
            "uniq",
            "cut",
            "tr",
            "nl",
            "diff",
            "cmp",
            "echo",
            "true",
            "date",
            "basename",
            "du",
            "file",
            "od",
            "seq",
            "tee",
            "rm",
            "cp",
            "mv",
            "jq",
            "b2sum",
        ] {
            assert!(family_of(program).is_none(), "{program}");
        }
    }

    #[test]
    fn a_prefix_that_could_be_one_is_known() {
        for prefix in [
            "",
            "p",
            "py*",
            "python3",
            "python3.1",
            "ba",
            "bash",
            "/usr/bin/l",
            "gcc-",
            "git-u",
            "ld-linux-x",
        ] {
            let prefix = prefix.trim_end_matches('*');
            assert!(could_begin(prefix).is_some(), "{prefix}");
        }
        for prefix in ["sha", "md5s", "catx", "wcx"] {
            assert_eq!(could_begin(prefix), None, "{prefix}");
        }
    }

    #[test]
    fn no_name_stands_in_the_table_twice() {
        let mut names: Vec<_> = FAMILIES.iter().flat_map(|family| family.names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
