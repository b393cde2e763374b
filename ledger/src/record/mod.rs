//! One record, one line of JSON:
//!
//! ```text
//! {"seq":7,"time":"2026-11-23T01:23:45.678Z","kind":"intent","session":"…","action":[["verb","exec"],…],…}
//! ```
//!
//! `seq`, `time` and `kind` come first, in this order and spelling, so that a checker finds them without
//! building the rest. Field values are booleans, whole numbers, texts, lists of texts, lists of pairs of
//! texts. A line has no byte that a terminal obeys, whatever was logged, and at most [`LINE_MAX`] bytes.
#![forbid(unsafe_code)]

mod deeds;
mod encode;
mod entries;
mod escape;
mod kind;
mod time;
mod value;

pub use deeds::{Answer, Answered, Asked, Closed, Fate, Intent, Opened, Outcome, Staged, Verdict};
pub use encode::TEXT_MAX;
pub use entries::{Entry, HeadMade, KeyChange, Keys, Policy, Recovered, Started, Stop, Stopped};
pub use escape::{escape, is_unsafe};
pub use kind::Kind;
pub use time::{Stamp, parse_rfc3339, rfc3339};
pub use value::{Cut, FIELDS_MAX, Fields, Text, Value};

/// A line has at most this many bytes, its line feed not counted: 16 KiB with it.
pub const LINE_MAX: usize = 16 * 1024 - 1;

/// A record, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// Its time in milliseconds since 1970, not before the record before it.
    pub time_ms: u64,
    /// What happened.
    pub kind: Kind,
    /// What there is to say about it.
    pub fields: Fields,
}

impl Record {
    /// A record at its place and time. A clock that went back is written into it as `clock_back_ms`.
    #[must_use]
    pub fn new(seq: u64, stamp: Stamp, kind: Kind, fields: Fields) -> Record {
        let fields = fields.with_some("clock_back_ms", stamp.clock_back_ms().map(Value::Number));
        Record { seq, time_ms: stamp.time_ms(), kind, fields }
    }

    /// The line, without its line feed.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line =
            format!(r#"{{"seq":{},"time":"{}","kind":"{}""#, self.seq, rfc3339(self.time_ms), self.kind);
        let room = LINE_MAX.saturating_sub(line.len() + 1);
        encode::fields(&mut line, &self.fields, room);
        line.push('}');
        line
    }
}
