//! Where the code of a command line comes from: from `/usr`, which nobody in a sandbox can write to, or from elsewhere.
//!
//! In a sandbox `/usr` is read-only, `/bin`, `/sbin`, `/lib` and `/lib64` are links into it, and a name without a slash is
//! looked up in a fixed PATH inside it. Everything else is a writable layer. A program that runs what it is told is judged
//! by what it is told: an interpreter or launcher is of `/usr` only if every further word is a file of `/usr` that is not
//! such a program itself, and nothing comes by standard input. So of those only command lines like
//! `["python3", "/usr/share/doc/report.py"]` can be allowed, and only word by word.
#![forbid(unsafe_code)]

use crate::paths::is_plain;
use crate::programs::{How, family_of};
use closedpaw_protocol::Stdin;

/// Where the code of a command line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// All of it from `/usr`.
    ReadOnly,
    /// Some of it from a writable layer, or there is no telling.
    Writable,
}

/// What cannot be written to inside a sandbox.
const READ_ONLY: &[&str] = &["/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/"];

/// A link that leads out of `/usr` on some systems.
const LEADS_OUT: &str = "/usr/tmp";

/// Where the code of this command line comes from.
pub fn origin<W: AsRef<str>>(argv: &[W], stdin: &Stdin) -> Origin {
    let Some((program, words)) = argv.split_first() else { return Origin::Writable };
    let has_nul = argv.iter().any(|word| word.as_ref().contains('\0'));
    if has_nul || !is_read_only_program(program.as_ref()) {
        return Origin::Writable;
    }
    let trusted = match family_of(program.as_ref()).map(|family| family.how) {
        None => true,
        Some(How::Always) => false,
        Some(How::Options(options)) => {
            !words.iter().any(|word| options.iter().any(|one| is_option(word.as_ref(), one)))
        }
        Some(How::Operands) => {
            *stdin == Stdin::Empty
                && !words.is_empty()
                && words.iter().all(|word| is_read_only_script(word.as_ref()))
        }
    };
    if trusted { Origin::ReadOnly } else { Origin::Writable }
}

fn is_read_only_program(program: &str) -> bool {
    if program.contains('/') { is_below_usr(program) } else { !matches!(program, "" | "." | "..") }
}

fn is_below_usr(path: &str) -> bool {
    is_plain(path)
        && READ_ONLY.iter().any(|folder| path.starts_with(folder))
        && path != LEADS_OUT
        && !path.strip_prefix(LEADS_OUT).is_some_and(|rest| rest.starts_with('/'))
}

fn is_read_only_script(word: &str) -> bool {
    is_below_usr(word) && family_of(word).is_none()
}

/// Whether a word gives this option. `--compress-program` is also `--comp` and `--compress-program=x` (getopt_long(3)); `-I`
/// is also `-xIf`; find's `-exec` is only itself.
fn is_option(word: &str, option: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    match (name.strip_prefix("--"), option.strip_prefix("--")) {
        (Some(short), Some(long)) => !short.is_empty() && long.starts_with(short),
        (None, None) if option.len() == 2 => {
            word.starts_with('-') && option.chars().nth(1).is_some_and(|c| word.contains(c))
        }
        (None, None) if !option.starts_with('-') => word.starts_with(option),
        _ => name == option,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::{Digest, Sealed};

    const SEALED: Stdin = Stdin::Sealed(Sealed { length: 1, digest: Digest([0; 32]) });

    fn is_read_only(argv: &[&str]) -> bool {
        origin(argv, &Stdin::Empty) == Origin::ReadOnly
    }

    #[test]
    fn names_and_usr_are_read_only() {
        for program in
            ["ls", "/usr/bin/ls", "/bin/ls", "/sbin/blkid", "/usr/local/bin/x", "/lib64/x", "/usr/tmpx/a"]
        {
            assert!(is_read_only(&[program, "anything"]), "{program}");
        }
    }

    #[test]
    fn everything_else_is_writable() {
        for program in [
            "",
            ".",
            "..",
            "./ls",
            "a/ls",
            "/workspace/ls",
            "/tmp/ls",
            "/usr/../tmp/ls",
            "/usr/./bin/ls",
            "/usr//bin/ls",
            "/usr/bin/",
            "/usrx/ls",
            "/usr",
            "/home/x",
            "/usr/tmp",
            "/usr/tmp/x",
            "/proc/self/exe",
            "ls\0",
            "/opt/x",
            "//usr/bin/ls",
        ] {
            assert!(!is_read_only(&[program]), "{program:?}");
        }
        assert!(!is_read_only(&[]));
        assert!(!is_read_only(&["ls", "a\0b"]));
    }

    #[test]
    fn an_interpreter_is_judged_by_what_it_runs() {
        assert!(is_read_only(&["python3", "/usr/share/x.py"]));
        assert!(is_read_only(&["/usr/bin/bash", "/usr/share/x.sh", "/usr/share/data"]));
        for argv in [
            &["python3", "script.py"][..],
            &["python3", "/workspace/script.py"],
            &["python3", "-c", "print()"],
            &["python3", "-m", "http.server"],
            &["bash"],
            &["bash", "-lc", "ls"],
            &["sh", "/usr/../workspace/x"],
            &["env", "ls"],
            &["env", "-S", "ls -l"],
            &["env", "X=1", "/usr/bin/ls"],
            &["env", "/usr/bin/bash"],
            &["nice", "/usr/bin/make"],
            &["time", "ls"],
            &["busybox", "sh"],
            &["make"],
            &["make", "/usr/share/x"],
            &["git", "status"],
            &["awk", "BEGIN{system(\"x\")}"],
            &["sed", "-n", "1e id", "x"],
            &["/lib64/ld-linux-x86-64.so.2", "/workspace/x"],
            &["tar", "xf", "x.tar", "--to-command=sh"],
        ] {
            assert!(!is_read_only(argv), "{argv:?}");
        }
    }

    #[test]
    fn an_interpreter_with_input_runs_it() {
        for stdin in [SEALED, Stdin::Live, Stdin::Terminal] {
            assert_eq!(origin(&["bash", "/usr/share/x.sh"], &stdin), Origin::Writable);
            assert_eq!(origin(&["cat"], &stdin), Origin::ReadOnly);
        }
    }

    /// Row P6: abbreviated long options, options with values, clusters.
    #[test]
    fn an_option_that_runs_programs_is_known_in_every_spelling() {
        for argv in [
            &["sort", "--compress-program=sh", "x"][..],
            &["sort", "--comp", "sh", "x"],
            &["sort", "--c=sh"],
            &["find", ".", "-exec", "id", ";"],
            &["find", ".", "-okdir", "id", ";"],
            &["rg", "--pre=sh", "x"],
            &["split", "--fil=sh", "x"],
            &["fd", "-Hx", "id"],
        ] {
            assert!(!is_read_only(argv), "{argv:?}");
        }
        for argv in [
            &["sort", "-r", "x"][..],
            &["find", ".", "-name", "x"],
            &["rg", "-i", "x"],
            &["split", "-b", "1"],
        ] {
            assert!(is_read_only(argv), "{argv:?}");
        }
    }
}
