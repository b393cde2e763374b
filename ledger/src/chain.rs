//! The writer's state: which record comes next, when it is, and what it adds to the tree.
//!
//! A record is drawn up with [`Chain::next`], written and synced by the daemon, and only then taken in with
//! [`Chain::commit`]: what could not be written has not happened.
#![forbid(unsafe_code)]

use ed25519_dalek::SigningKey;

use crate::head::{Head, SignedHead};
use crate::record::{Entry, Fields, HeadMade, Kind, Record, Stamp};
use crate::tree::{Frontier, Hash};

/// Where the log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    frontier: Frontier,
    last_ms: u64,
}

/// A record that follows, with what it adds to the tree. Nothing holds it until it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a record that is not written has not happened"]
pub struct Next {
    /// The record.
    pub record: Record,
    /// Its line, without the line feed: what goes to the log.
    pub line: String,
    /// The nodes it completes: what goes to the node file, at place [`Next::first_node`].
    pub nodes: Vec<Hash>,
    /// The place of the first of these nodes.
    pub first_node: u64,
    after: Chain,
}

impl Chain {
    /// The empty log.
    #[must_use]
    pub fn new() -> Chain {
        Chain::default()
    }

    /// A log to go on with: its frontier, and the time of its last record in milliseconds since 1970.
    #[must_use]
    pub fn resume(frontier: Frontier, last_ms: u64) -> Chain {
        Chain { frontier, last_ms }
    }

    /// How many records there are: the next one's `seq`.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over the records.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Draws up the record that follows, with the clock at `now_ms`.
    pub fn next<E: Entry>(&self, now_ms: u64, entry: E) -> Next {
        self.next_of(now_ms, E::KIND, entry.fields())
    }

    /// Draws up the record that follows from a kind and fields.
    pub fn next_of(&self, now_ms: u64, kind: Kind, fields: Fields) -> Next {
        let stamp = Stamp::next(self.last_ms, now_ms);
        let record = Record::new(self.size(), stamp, kind, fields);
        let line = record.line();
        let mut after = Chain { frontier: self.frontier.clone(), last_ms: stamp.time_ms() };
        let nodes = after.frontier.append(line.as_bytes());
        // 2n - ones(n) nodes come before leaf n; no log reaches the 2^63 records where that overflows.
        let first_node = crate::tree::stored_hash_count(self.size()).unwrap_or(u64::MAX);
        Next { record, line, nodes, first_node, after }
    }

    /// Takes in a record that is on disk.
    ///
    /// # Errors
    /// The record itself, unless it was drawn up where the log stands now.
    pub fn commit(&mut self, next: Next) -> Result<(), Box<Next>> {
        if next.record.seq != self.size() {
            return Err(Box::new(next));
        }
        *self = next.after;
        Ok(())
    }

    /// Signs a head over the log as it stands, never earlier than its last record.
    #[must_use]
    pub fn head(&self, now_ms: u64, key: &SigningKey) -> SignedHead {
        let time = Stamp::next(self.last_ms, now_ms).time_ms() / 1000;
        Head { size: self.size(), root: self.root(), time }.sign(key)
    }

    /// Draws up the record that keeps a head over the log as it stands in the log itself.
    pub fn next_head(&self, now_ms: u64, key: &SigningKey) -> Next {
        self.next(now_ms, HeadMade(self.head(now_ms, key)))
    }
}
