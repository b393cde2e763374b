//! What was stopped on purpose: it stays so, over restarts too, until somebody lets work begin again (row I7).
//!
//! The file is read by whoever finds it, so it is text: a first line that says what it is, then `all` or a uid on each line.
//! One that is there and says something else, as after a power failure in mid-write, stops everything: nobody can tell
//! whose stop it was.
#![forbid(unsafe_code)]

use crate::paths::Paths;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

const FORM: &str = "closedpaw halts v1";

/// Whose work is stopped.
pub(super) struct Halts {
    file: PathBuf,
    stopped: RefCell<Stopped>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stopped {
    all: bool,
    users: BTreeSet<u32>,
}

impl Halts {
    /// As an earlier judge has left it.
    pub(super) fn load(paths: &Paths) -> Self {
        let file = paths.state().join("halted");
        let stopped = match fs::read_to_string(&file) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Stopped::default()),
            Err(_) => None,
        };
        let stopped = stopped.unwrap_or_else(|| {
            tracing::error!("judge: {}: not readable, so everything is stopped", file.display());
            Stopped { all: true, ..Stopped::default() }
        });
        Self { file, stopped: RefCell::new(stopped) }
    }

    /// Whether a user's work is stopped, by them or for everybody.
    pub(super) fn hold(&self, uid: u32) -> bool {
        let stopped = self.stopped.borrow();
        stopped.all || stopped.users.contains(&uid)
    }

    /// Stops one user's work, or everybody's, or no longer does. From now on, whatever comes of writing it down.
    ///
    /// # Errors
    /// What kept it from being written: then it holds until the daemon ends.
    pub(super) fn set(&self, on: bool, uid: Option<u32>) -> io::Result<()> {
        let mut stopped = self.stopped.borrow_mut();
        match (uid, on) {
            (None, on) => stopped.all = on,
            (Some(uid), true) => drop(stopped.users.insert(uid)),
            (Some(uid), false) => drop(stopped.users.remove(&uid)),
        }
        let mut file = File::create(&self.file)?;
        file.write_all(text(&stopped).as_bytes())?;
        file.sync_all()
    }
}

fn text(stopped: &Stopped) -> String {
    let mut text = format!("{FORM}\n");
    if stopped.all {
        text.push_str("all\n");
    }
    for uid in &stopped.users {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "{uid}");
    }
    text
}

fn parse(text: &str) -> Option<Stopped> {
    let mut stopped = Stopped::default();
    let lines = text.strip_suffix('\n')?.strip_prefix(FORM)?;
    for line in lines.split('\n').skip(1) {
        match line {
            "all" => stopped.all = true,
            uid => drop(stopped.users.insert(uid.parse().ok()?)),
        }
    }
    (self::text(&stopped) == text).then_some(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_a_part_of_it_is_not(all in any::<bool>(), users in prop::collection::btree_set(any::<u32>(), 0..5)) {
            let stopped = Stopped { all, users };
            let text = text(&stopped);
            prop_assert_eq!(parse(&text), Some(stopped.clone()));
            for end in 0..text.len() {
                // Cut after a whole line, nobody can tell that there was more; a stop that is lost so was never answered.
                let part = parse(&text[..end]);
                prop_assert!(part.is_none() || text[..end].ends_with('\n'), "{end}");
            }
        }

        #[test]
        fn any_text_is_read_exactly_or_not(text in "(closedpaw halts v1\n)?(all\n|[0-9]{1,11}\n|.){0,4}") {
            if let Some(stopped) = parse(&text) {
                prop_assert_eq!(super::text(&stopped), text);
            }
        }
    }
}
