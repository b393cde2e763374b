//! Checking a whole log, line by line, with O(log n) memory.
//!
//! What a log shows by itself: every line is a record, in its place, in order of time, and its own head
//! records agree with the records before them. What only a head from elsewhere shows: that the log was not
//! cut, rewritten or forked as a whole. Heads are therefore given at the start ([`Verifier::new`]): each must
//! turn out to be the root over the log's first records.
#![forbid(unsafe_code)]

mod fault;
mod line;
mod locate;

pub use fault::{Fault, Why};
pub(crate) use line::prefix;
pub use locate::{NotLocated, first_difference};

use ed25519_dalek::VerifyingKey;

use crate::head::{Head, HeadError, SignedHead};
use crate::record::{Kind, LINE_MAX};
use crate::tree::{Frontier, Hash, leaf_hash};

/// What a log that holds turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many records there are.
    pub records: u64,
    /// How many bytes they take, line feeds counted.
    pub bytes: u64,
    /// The root over them.
    pub root: Hash,
    /// How many heads in the log agree with it.
    pub own_heads: u64,
    /// How many heads the checker held agree with it.
    pub held_heads: u64,
    /// Whether signatures were checked, or no key was given.
    pub signatures_checked: bool,
    /// How many records are of a kind this program does not know.
    pub unknown_kinds: u64,
    /// The time of the first record, in milliseconds since 1970.
    pub first_ms: Option<u64>,
    /// The time of the last record.
    pub last_ms: Option<u64>,
}

/// The check of one log. Give it every line in order, then [`finish`](Verifier::finish).
///
/// The first fault is final: after it, every call gives the same one again.
#[derive(Debug)]
pub struct Verifier {
    key: Option<VerifyingKey>,
    /// The heads still to be met, the shortest last.
    held: Vec<Head>,
    frontier: Frontier,
    /// The size up to which the records are known to be those a head was made over.
    vouched: u64,
    /// A line of which only the beginning has come in.
    partial: Vec<u8>,
    report: Report,
    fault: Option<Fault>,
}

impl Verifier {
    /// A check with the daemon's key and the heads the checker holds from earlier. Without a key, heads count
    /// for what they are to whoever kept them, and signatures are not looked at.
    ///
    /// # Errors
    /// A weak key, a held head that the daemon did not sign, or two that contradict each other.
    pub fn new(key: Option<VerifyingKey>, held: &[SignedHead]) -> Result<Verifier, Fault> {
        if key.is_some_and(|key| key.is_weak()) {
            return Err(Fault { seq: 0, why: Why::WeakKey });
        }
        let empty = Frontier::new();
        let mut verifier = Verifier {
            report: Report {
                records: 0,
                bytes: 0,
                root: empty.root(),
                own_heads: 0,
                held_heads: 0,
                signatures_checked: key.is_some(),
                unknown_kinds: 0,
                first_ms: None,
                last_ms: None,
            },
            key,
            held: held.iter().map(|signed| signed.head).collect(),
            frontier: empty,
            vouched: 0,
            partial: Vec::new(),
            fault: None,
        };
        for signed in held {
            verifier.signed(signed).map_err(|why| Fault { seq: signed.head.size, why })?;
        }
        verifier.order_held()?;
        verifier.meet_held()?;
        Ok(verifier)
    }

    /// Takes in the next line, without its line feed.
    ///
    /// # Errors
    /// The first [`Fault`] of the log.
    pub fn push_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let taken = self
            .check_line(line)
            .map_err(|why| Fault { seq: self.first_bad(&why), why })
            .and_then(|()| self.take_in(line));
        if let Err(fault) = &taken {
            self.fault = Some(fault.clone());
        }
        taken
    }

    /// Takes in the next piece of the log file, cut anywhere.
    ///
    /// # Errors
    /// The first [`Fault`] of the log.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while let Some(at) = bytes.iter().position(|&b| b == b'\n') {
            let (line, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                self.push_line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.push_line(&whole)?;
            }
        }
        // One byte beyond the longest line is enough to know that it is too long.
        let room = (LINE_MAX + 1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        if self.partial.len() > LINE_MAX { self.fail(Why::TooLong) } else { Ok(()) }
    }

    /// Ends the check.
    ///
    /// # Errors
    /// The first [`Fault`] of the log; among them that it ends before a held head does.
    pub fn finish(mut self) -> Result<Report, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.partial.is_empty() {
            self.fail(Why::Torn)?;
        }
        if let Some(longest) = self.held.first() {
            let size = longest.size;
            self.fail(Why::Cut { size })?;
        }
        self.report.root = self.frontier.root();
        Ok(self.report)
    }

    /// Everything about the next line but the heads held.
    fn check_line(&mut self, line: &[u8]) -> Result<(), Why> {
        let found = line::check(line)?;
        if found.seq != self.frontier.size() {
            return Err(Why::OutOfPlace { found: found.seq });
        }
        if self.report.last_ms.is_some_and(|last| found.time_ms < last) {
            return Err(Why::TimeBack);
        }
        match Kind::from_name(found.kind) {
            Some(Kind::Head) => self.check_own_head(&line::embedded_head(found.rest)?)?,
            Some(_) => {}
            None => self.report.unknown_kinds += 1,
        }
        self.report.first_ms.get_or_insert(found.time_ms);
        self.report.last_ms = Some(found.time_ms);
        Ok(())
    }

    /// A head in the log stands for exactly the records before it.
    fn check_own_head(&mut self, signed: &SignedHead) -> Result<(), Why> {
        let size = signed.head.size;
        if size != self.frontier.size() {
            return Err(Why::HeadOutOfPlace { size });
        }
        self.signed(signed)?;
        if signed.head.root != self.frontier.root() {
            return Err(Why::Differs { size });
        }
        self.vouched = size;
        self.report.own_heads += 1;
        Ok(())
    }

    fn take_in(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.frontier.append_hash(leaf_hash(line), |_| {});
        self.report.records += 1;
        self.report.bytes += line.len() as u64 + 1;
        self.meet_held()
    }

    /// Compares the root with each held head of the size now reached.
    fn meet_held(&mut self) -> Result<(), Fault> {
        while let Some(head) = self.held.pop_if(|head| head.size == self.frontier.size()) {
            if head.root != self.frontier.root() {
                return Err(Fault { seq: self.vouched, why: Why::Differs { size: head.size } });
            }
            self.vouched = head.size;
            self.report.held_heads += 1;
        }
        Ok(())
    }

    /// Sorts the held heads for meeting them, and sees that no two contradict each other.
    fn order_held(&mut self) -> Result<(), Fault> {
        self.held.sort_by_key(|head| std::cmp::Reverse(head.size));
        for (one, other) in self.held.iter().zip(self.held.iter().skip(1)) {
            if one.size == other.size && one.root != other.root {
                return Err(Fault { seq: 0, why: Why::Forked { size: one.size } });
            }
        }
        Ok(())
    }

    fn signed(&self, signed: &SignedHead) -> Result<(), Why> {
        let Some(key) = &self.key else { return Ok(()) };
        match signed.verify(key) {
            Ok(()) => Ok(()),
            Err(HeadError::WeakKey) => Err(Why::WeakKey),
            Err(_) => Err(Why::NotSigned { size: signed.head.size }),
        }
    }

    /// The record a fault found in the next line is about: that line, or, where a head of the log differs,
    /// the first record nobody vouches for.
    fn first_bad(&self, why: &Why) -> u64 {
        if matches!(why, Why::Differs { .. }) { self.vouched } else { self.frontier.size() }
    }

    fn fail(&mut self, why: Why) -> Result<(), Fault> {
        let fault = Fault { seq: self.frontier.size(), why };
        self.fault = Some(fault.clone());
        Err(fault)
    }
}
