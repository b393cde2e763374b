//! What the records of sessions and their actions say.
#![forbid(unsafe_code)]

use super::{Entry, Fields, Kind, Value};

/// A session was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose it is.
    pub uid: u32,
    /// The approver key that signed the opening.
    pub key: String,
    /// The workspace.
    pub workspace: String,
    /// The label it begins with.
    pub label: String,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_ms: u64,
}

impl Entry for Opened {
    const KIND: Kind = Kind::Opened;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("key", Value::text(self.key))
            .with("workspace", Value::text(self.workspace))
            .with("label", Value::text(self.label))
            .with("expires", Value::text(super::rfc3339(self.expires_ms)))
    }
}

/// A session was closed.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose it was.
    pub uid: u32,
    /// Why: by the person, expired, its client gone.
    pub reason: String,
}

impl Entry for Closed {
    const KIND: Kind = Kind::Closed;

    fn fields(self) -> Fields {
        session(self.session, self.uid).with("reason", Value::text(self.reason))
    }
}

/// What the rules said of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A rule allows it.
    Allow,
    /// A person is to be asked.
    Ask,
    /// A rule, or the absence of one, denies it.
    Deny,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Ask => "ask",
            Verdict::Deny => "deny",
        }
    }
}

/// An action is about to be done. Naming an approval here is what uses it up.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose session it is.
    pub uid: u32,
    /// The key that asked.
    pub key: String,
    /// The action, name by name.
    pub action: Vec<(String, String)>,
    /// The digest of the canonical action.
    pub digest: [u8; 32],
    /// What the rules said.
    pub verdict: Verdict,
    /// The rule that said so.
    pub rule: String,
    /// The revision of the policy it is in.
    pub policy: String,
    /// The session's label, joined with the action's own sources.
    pub label: String,
    /// The approval this uses up.
    pub approval: Option<String>,
}

impl Entry for Intent {
    const KIND: Kind = Kind::Intent;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("key", Value::text(self.key))
            .with("action", Value::pairs(self.action))
            .with("digest", Value::hex(&self.digest))
            .with("verdict", Value::text(self.verdict.name()))
            .with("rule", Value::text(self.rule))
            .with("policy", Value::text(self.policy))
            .with("label", Value::text(self.label))
            .with_some("approval", self.approval.map(Value::text))
    }
}

/// How an action ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose session it is.
    pub uid: u32,
    /// The `seq` of the intent.
    pub intent: u64,
    /// One word: `done`, `failed`, `killed`, `timed_out`, …
    pub outcome: String,
    /// The exit code, if there is one.
    pub exit: Option<u32>,
    /// The signal that ended it, if one did.
    pub signal: Option<u32>,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
    /// The digest of what came out, where one was made.
    pub output: Option<[u8; 32]>,
    /// How long it took.
    pub took_ms: u64,
}

impl Entry for Outcome {
    const KIND: Kind = Kind::Outcome;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("intent", Value::Number(self.intent))
            .with("outcome", Value::text(self.outcome))
            .with_some("exit", self.exit.map(|code| Value::Number(code.into())))
            .with_some("signal", self.signal.map(|signal| Value::Number(signal.into())))
            .with("bytes_in", Value::Number(self.bytes_in))
            .with("bytes_out", Value::Number(self.bytes_out))
            .with_some("output", self.output.map(|digest| Value::hex(&digest)))
            .with("took_ms", Value::Number(self.took_ms))
    }
}

/// A person is asked about an action.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose session it is.
    pub uid: u32,
    /// The question's number.
    pub id: String,
    /// The action, name by name.
    pub action: Vec<(String, String)>,
    /// The digest of the canonical action.
    pub digest: [u8; 32],
    /// The rule that wants it asked.
    pub rule: String,
    /// The session's label, joined with the action's own sources.
    pub label: String,
    /// Until when it can be answered, in milliseconds since 1970.
    pub until_ms: u64,
}

impl Entry for Asked {
    const KIND: Kind = Kind::Asked;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("id", Value::text(self.id))
            .with("action", Value::pairs(self.action))
            .with("digest", Value::hex(&self.digest))
            .with("rule", Value::text(self.rule))
            .with("label", Value::text(self.label))
            .with("until", Value::text(super::rfc3339(self.until_ms)))
    }
}

/// What a person answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes, once.
    Approved,
    /// No.
    Denied,
    /// Nobody answered in time.
    Expired,
}

impl Answer {
    fn name(self) -> &'static str {
        match self {
            Answer::Approved => "approved",
            Answer::Denied => "denied",
            Answer::Expired => "expired",
        }
    }
}

/// A question was answered, or ran out.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose session it is.
    pub uid: u32,
    /// The question's number.
    pub id: String,
    /// The digest the answer is about.
    pub digest: [u8; 32],
    /// The answer.
    pub answer: Answer,
    /// The approver key that signed it; none when it ran out.
    pub key: Option<String>,
}

impl Entry for Answered {
    const KIND: Kind = Kind::Answered;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("id", Value::text(self.id))
            .with("digest", Value::hex(&self.digest))
            .with("answer", Value::text(self.answer.name()))
            .with_some("key", self.key.map(Value::text))
    }
}

/// What becomes of a session's layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept, though the session has ended.
    Kept,
    /// Its person threw it away.
    Discarded,
    /// It was kept as long as such things are.
    Expired,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Fate::Kept => "kept",
            Fate::Discarded => "discarded",
            Fate::Expired => "expired",
        }
    }
}

/// What a session wrote was kept when it ended, or is gone.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The session's number.
    pub session: [u8; 16],
    /// Whose it is.
    pub uid: u32,
    /// What becomes of it.
    pub fate: Fate,
    /// The key that said so, if one did.
    pub key: Option<String>,
}

impl Entry for Staged {
    const KIND: Kind = Kind::Staged;

    fn fields(self) -> Fields {
        session(self.session, self.uid)
            .with("fate", Value::text(self.fate.name()))
            .with_some("key", self.key.map(Value::text))
    }
}

fn session(session: [u8; 16], uid: u32) -> Fields {
    Fields::new().with("session", Value::hex(&session)).with("uid", Value::Number(uid.into()))
}
