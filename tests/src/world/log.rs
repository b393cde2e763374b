//! The log as a test reads it: as JSON, with nothing of the ledger's own code.
#![forbid(unsafe_code)]

use serde_json::Value;

/// Every record, in order.
#[derive(Debug, Clone)]
pub struct Records(Vec<Value>);

impl Records {
    pub(super) fn parse(lines: &[String]) -> Self {
        Self(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every record.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// The records of one kind.
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|record| record["kind"] == kind).collect()
    }

    /// The intents to do something inside a sandbox: everything but the openings of sessions.
    pub fn work(&self) -> Vec<&Value> {
        self.of("intent")
            .into_iter()
            .filter(|record| word(record, "action").as_deref() != Some("open"))
            .collect()
    }

    /// How often a user was refused with this code, as far as the log says so by now.
    pub fn refused(&self, uid: u32, code: closedpaw_protocol::ErrorCode) -> u64 {
        let of = |record: &&&Value| record["uid"] == uid && record["code"] == code.number();
        self.of("refusals").iter().filter(of).filter_map(|record| record["count"].as_u64()).sum()
    }

    /// The last lines, for a person who looks at a failed test.
    pub fn tail(&self, lines: usize) -> String {
        let last = self.0.iter().rev().take(lines).rev();
        last.map(|record| format!("{record}\n")).collect()
    }
}

/// A word of a record's action, by its name: `word(record, "cwd")`.
pub fn word(record: &Value, name: &str) -> Option<String> {
    let pairs = record["action"].as_array()?;
    pairs.iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str()).map(str::to_owned)
}
