//! Why a sandbox did not start, or what is left of one: for the launcher's journal.
#![forbid(unsafe_code)]

use std::io;

/// What went wrong with a shim.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    /// Its program did not do what it was called for.
    #[error("the shim's {what} failed ({status}): {said}")]
    Failed {
        /// Which of its two words.
        what: &'static str,
        /// How the program ended.
        status: String,
        /// What it said.
        said: String,
    },
    /// It takes longer than it may.
    #[error("the shim did not answer within {seconds} s: {what}")]
    Slow {
        /// What was asked of it.
        what: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It said something else than where it listens.
    #[error("the shim's start reply is neither an address nor the form of version 3: {reply}")]
    Reply {
        /// What it said.
        reply: String,
    },
    /// It listens in a way that this daemon does not speak.
    #[error("the shim speaks {what}; this daemon speaks ttrpc, of task services 2 and 3")]
    Foreign {
        /// What it speaks.
        what: String,
    },
    /// It says no.
    #[error("the shim refused {what}: {why}")]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// Its reason.
        why: String,
    },
    /// It ended, or hung up.
    #[error("the shim ended: {what}: {why}")]
    Gone {
        /// What was asked of it.
        what: &'static str,
        /// How that was noticed.
        why: String,
    },
    /// What it started did not last.
    #[error("the sandbox's first process ended while it was being started")]
    Ended,
    /// Something on this side.
    #[error("{what}: {error}")]
    Here {
        /// What was tried.
        what: &'static str,
        /// Why it could not be done.
        error: io::Error,
    },
}

impl ShimError {
    /// For `map_err`: what was tried on this side.
    pub(crate) fn here<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Here { what, error: error.into() }
    }
}

/// The most of another program's text that goes into the journal, in letters.
const MOST: usize = 600;

/// The end of what another program said, on one line and with nothing in it that acts on a terminal.
pub(crate) fn plain(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(MOST);
    text.chars().skip(skipped).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shim_says_is_one_line_and_does_nothing() {
        assert_eq!(plain(" a\nb\u{1b}[2J\u{202e}c\n"), "a\\nb\\u{1b}[2J\\u{202e}c");
        assert_eq!(plain(&("x".repeat(5000) + "end")).len(), MOST);
        assert!(plain(&("x".repeat(5000) + "end")).ends_with("xend"));
    }
}
