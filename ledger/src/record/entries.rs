//! What each kind of record says, as a struct whose fields cannot be forgotten.
//!
//! Each turns into its kind and [`Fields`], to which the caller may still add (`entry.fields().with(…)`).
//! Texts here may come from anyone; they are escaped and cut when the line is written.
#![forbid(unsafe_code)]

use super::{Fields, Kind, Value};
use crate::head::SignedHead;

/// What happened, ready to be logged.
pub trait Entry {
    /// The kind of record this makes.
    const KIND: Kind;

    /// What it says.
    fn fields(self) -> Fields;
}

/// The daemon started.
#[derive(Clone, Debug)]
pub struct Started {
    /// The daemon's version.
    pub version: String,
    /// The kernel's boot id.
    pub boot: String,
    /// The digest of the policy in force.
    pub policy: [u8; 32],
}

impl Entry for Started {
    const KIND: Kind = Kind::Started;

    fn fields(self) -> Fields {
        Fields::new()
            .with("version", Value::text(self.version))
            .with("boot", Value::text(self.boot))
            .with("policy", Value::hex(&self.policy))
    }
}

/// The daemon stopped in good order.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Why: a signal, a restart.
    pub reason: String,
}

impl Entry for Stopped {
    const KIND: Kind = Kind::Stopped;

    fn fields(self) -> Fields {
        Fields::new().with("reason", Value::text(self.reason))
    }
}

/// The policy was loaded, or refused and the one before kept.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The revision.
    pub revision: String,
    /// The digest of its files.
    pub digest: [u8; 32],
    /// How many files it has.
    pub files: u64,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

impl Entry for Policy {
    const KIND: Kind = Kind::Policy;

    fn fields(self) -> Fields {
        Fields::new()
            .with("revision", Value::text(self.revision))
            .with("digest", Value::hex(&self.digest))
            .with("files", Value::Number(self.files))
            .with_some("refused", self.refused.map(Value::text))
    }
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Its file appeared.
    Added,
    /// Its file is gone.
    Removed,
    /// Its time ran out.
    Expired,
    /// Its file cannot be used.
    Refused,
}

impl KeyChange {
    fn name(self) -> &'static str {
        match self {
            KeyChange::Added => "added",
            KeyChange::Removed => "removed",
            KeyChange::Expired => "expired",
            KeyChange::Refused => "refused",
        }
    }
}

/// A key was added, removed, ran out or was refused.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What became of it.
    pub change: KeyChange,
    /// The name of its file.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Whose it is.
    pub uid: u32,
    /// Its public half.
    pub public: [u8; 32],
}

impl Entry for Keys {
    const KIND: Kind = Kind::Keys;

    fn fields(self) -> Fields {
        Fields::new()
            .with("change", Value::text(self.change.name()))
            .with("name", Value::text(self.name))
            .with("role", Value::text(self.role))
            .with("uid", Value::Number(self.uid.into()))
            .with("public", Value::hex(&self.public))
    }
}

/// What a restarted daemon found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Sandboxes taken back.
    pub taken_back: u64,
    /// Sandboxes that could not be, and were removed.
    pub reaped: u64,
    /// The `seq` of each intent whose outcome is not known.
    pub open_intents: Vec<u64>,
    /// Bytes of a half-written last line that were taken off the log.
    pub torn_bytes: u64,
}

impl Entry for Recovered {
    const KIND: Kind = Kind::Recovered;

    fn fields(self) -> Fields {
        Fields::new()
            .with("taken_back", Value::Number(self.taken_back))
            .with("reaped", Value::Number(self.reaped))
            .with("open_intents", Value::list(self.open_intents.iter().map(u64::to_string)))
            .with("torn_bytes", Value::Number(self.torn_bytes))
    }
}

/// A person stopped everything of theirs, or one session; an admin everything.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Who stopped it.
    pub uid: u32,
    /// The key that signed it.
    pub key: String,
    /// What was stopped: `session`, `uid` or `all`.
    pub scope: String,
    /// The one session, if it is one.
    pub session: Option<[u8; 16]>,
    /// How many sandboxes this ended.
    pub ended: u64,
}

impl Entry for Stop {
    const KIND: Kind = Kind::Stop;

    fn fields(self) -> Fields {
        Fields::new()
            .with("uid", Value::Number(self.uid.into()))
            .with("key", Value::text(self.key))
            .with("scope", Value::text(self.scope))
            .with_some("session", self.session.map(|session| Value::hex(&session)))
            .with("ended", Value::Number(self.ended))
    }
}

/// A head over all records before this one, kept in the log itself.
#[derive(Clone, Copy, Debug)]
pub struct HeadMade(
    /// The head: its size is the `seq` of this record.
    pub SignedHead,
);

impl Entry for HeadMade {
    const KIND: Kind = Kind::Head;

    fn fields(self) -> Fields {
        Fields::new().with("head", Value::text(self.0.to_string()))
    }
}
