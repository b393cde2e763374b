//! The words that the launcher says, and what is said back.
#![forbid(unsafe_code)]

use crate::program::Shim;
use crate::start::Start;
use crate::{finish, start};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str =
    "usage: closedpaw-shim start --shim PATH --bundle DIR --id ID --pid-file FILE [--keep MOUNT] [--seconds N]
       closedpaw-shim delete --shim PATH --bundle DIR --id ID";

/// How long a start may take at most, in seconds. A virtual machine boots meanwhile.
const LONGEST: u64 = 60;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// Starts the bundle's sandbox.
    Start(Start),
    /// Ends it, and has the shim forget it.
    Delete,
}

/// Does what its words say. The launcher's own journal is where it is read what went wrong.
#[allow(clippy::print_stderr, reason = "the launcher's own journal is where this is read")]
pub fn main() -> ExitCode {
    let Some((word, shim)) = parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let done = match word {
        Word::Start(how) => start::start(&shim, &how),
        Word::Delete => finish::delete(&shim),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("closedpaw-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every word once, in any order, and no other.
fn parse(mut words: impl Iterator<Item = OsString>) -> Option<(Word, Shim)> {
    let starts = match words.next()?.to_str()? {
        "start" => true,
        "delete" => false,
        _ => return None,
    };
    let (mut path, mut bundle, mut id) = (None, None, None);
    let (mut pid_file, mut keep, mut seconds) = (None, None, None);
    while let Some(name) = words.next() {
        let place = match name.to_str()? {
            "--shim" => &mut path,
            "--bundle" => &mut bundle,
            "--id" => &mut id,
            "--pid-file" if starts => &mut pid_file,
            "--keep" if starts => &mut keep,
            "--seconds" if starts => &mut seconds,
            _ => return None,
        };
        if place.replace(words.next()?).is_some() {
            return None;
        }
    }
    let (path, bundle) = (PathBuf::from(path?), PathBuf::from(bundle?));
    let id = id?.into_string().ok().filter(|id| is_plain(id))?;
    let seconds = seconds.map_or(Some(LONGEST), |seconds| seconds.to_str()?.parse().ok())?;
    let patience = Duration::from_secs(Some(seconds).filter(|seconds| (1..=LONGEST).contains(seconds))?);
    let how =
        |pid_file: OsString| Start { pid_file: pid_file.into(), keep: keep.map(PathBuf::from), patience };
    let word = if starts { Word::Start(how(pid_file?)) } else { Word::Delete };
    (path.is_absolute() && bundle.is_absolute()).then_some((word, Shim { path, bundle, id }))
}

/// As containerd has its names, which end up in paths.
fn is_plain(id: &str) -> bool {
    (1..=76).contains(&id.len()) && id.chars().all(|letter| letter.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<(Word, Shim)> {
        parse(words.iter().map(OsString::from))
    }

    const GOOD: [&str; 9] = ["start", "--shim", "/s", "--bundle", "/b", "--id", "a1", "--pid-file", "/p"];

    #[test]
    fn each_word_is_there_once() {
        let (word, shim) = parsed(&GOOD).unwrap();
        assert_eq!(
            word,
            Word::Start(Start { pid_file: "/p".into(), keep: None, patience: Duration::from_secs(60) })
        );
        assert_eq!((shim.path, shim.bundle, shim.id), ("/s".into(), "/b".into(), "a1".to_owned()));
        assert_eq!(
            parsed(&["delete", "--id", "a", "--shim", "/s", "--bundle", "/b"]).unwrap().0,
            Word::Delete
        );
        for end in 0..GOOD.len() {
            assert!(parsed(&GOOD[..end]).is_none(), "{end}");
        }
        for more in [["--id", "b"], ["--pid-file", "/q"], ["--debug", "x"]] {
            assert!(parsed(&[&GOOD[..], &more[..]].concat()).is_none(), "{more:?}");
        }
        assert!(
            parsed(&["delete", "--shim", "/s", "--bundle", "/b", "--id", "a", "--pid-file", "/p"]).is_none()
        );
    }

    #[test]
    fn a_start_has_a_limit_whoever_asks() {
        let of = |seconds: &str| parsed(&[&GOOD[..], &["--seconds", seconds]].concat()).map(|(word, _)| word);
        let one = Start { pid_file: "/p".into(), keep: None, patience: Duration::from_secs(1) };
        assert_eq!(of("1"), Some(Word::Start(one)));
        for bad in ["0", "61", "-1", "", "1.5", "99999999999999999999"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_or_place_that_leads_elsewhere_is_refused() {
        for (place, bad) in [(2, "s"), (4, "b/c"), (6, "../x"), (6, ""), (6, "a b"), (0, "run")] {
            let mut words = GOOD;
            words[place] = bad;
            assert!(parsed(&words).is_none(), "{bad}");
        }
    }
}
