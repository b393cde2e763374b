//! What is wrong with a log, and where.
#![forbid(unsafe_code)]

use std::fmt;

/// The first thing wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first record that is bad: its place in the log, from 0. Where only a range is known to hold it,
    /// the range's first ([`Why::Differs`]; [`first_difference`](super::first_difference) narrows it down).
    pub seq: u64,
    /// Why.
    pub why: Why,
}

impl Fault {
    /// The line of the log file the record stands on, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.seq.saturating_add(1)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} (line {}): {}", self.seq, self.line(), self.why)
    }
}

impl std::error::Error for Fault {}

/// Why a record, or a log, is bad.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The line is longer than any the daemon writes.
    #[error("the line is too long")]
    TooLong,
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The line holds a character that the daemon writes escaped: NUL, ESC, a bidi control, …
    #[error("the line holds a character that the daemon always escapes")]
    Unescaped,
    /// The line does not begin as every record does, or is not JSON, or has a name twice.
    #[error("the line is not a record")]
    NotARecord,
    /// The record's number is not the one that follows: records were left out, put in or moved.
    #[error("it says it is record {found}: records were left out, put in or moved")]
    OutOfPlace {
        /// The number it carries.
        found: u64,
    },
    /// The record's time is before the record before it, which the daemon never writes.
    #[error("its time is before the record before it")]
    TimeBack,
    /// A `head` record without a head in its one spelling.
    #[error("it is a head record without a head")]
    BadHead,
    /// A `head` record whose head counts other than the records before it.
    #[error("its head counts {size} records")]
    HeadOutOfPlace {
        /// What the head counts.
        size: u64,
    },
    /// A head in the log, or held by the checker, is not signed by the daemon.
    #[error("the head of size {size} is not signed by the daemon's key")]
    NotSigned {
        /// The head's size.
        size: u64,
    },
    /// The records from this one on, below `size`, are not the ones a signed head was made over: one of them
    /// was edited or replaced, or this is another branch of a forked log.
    #[error("the records from here to {} are not those of the signed head of size {size}", size.saturating_sub(1))]
    Differs {
        /// The size of the head that shows it.
        size: u64,
    },
    /// The log ends here and a held head shows that it was longer.
    #[error("the log ends before this record, and a held head shows that it had {size}")]
    Cut {
        /// The size of the longest head held.
        size: u64,
    },
    /// Two held heads of one size with different roots, both signed: the daemon's key signed two histories.
    #[error("two signed heads of size {size} differ: the log was forked")]
    Forked {
        /// The size of both.
        size: u64,
    },
    /// The last line has no line feed: it was not written to its end.
    #[error("the last line was not written to its end")]
    Torn,
    /// The daemon's key is of small order, so that its signatures show nothing.
    #[error("the daemon's key is weak: anyone can sign under it")]
    WeakKey,
}
