//! The messages on the daemon's socket.
//!
//! A connection starts with a [`Hello`] from the client and a [`Welcome`] from the daemon; after that the client
//! sends [`Signed`] bodies and the daemon sends [`Outgoing`] replies and events. Anything else ends the connection.
#![forbid(unsafe_code)]

use crate::sign::Context;
use crate::{
    Action, ApprovalId, Challenge, Digest, KeyId, Label, Refusal, Revision, SandboxId, SessionId, Tier,
};
use bincode::{Decode, Encode};

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`crate::VERSION`].
    pub version: u16,
    /// Random; the daemon's proof covers it.
    pub challenge: Challenge,
}

/// The daemon's first frame, sent after it has read the client's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// [`crate::VERSION`].
    pub version: u16,
    /// Random; every signature of the client on this connection covers it.
    pub challenge: Challenge,
    /// The daemon's key, which the client has pinned.
    pub key: KeyId,
    /// Over the client's challenge, sequence 0 and the daemon's challenge, in [`Context::Daemon`].
    pub proof: [u8; 64],
}

/// One statement of the client's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Signed {
    /// What kind of statement; decides how `body` is read: [`Request`], [`Opening`] or [`Answer`].
    pub context: Context,
    /// Who makes it.
    pub key: KeyId,
    /// 0 for the first on this connection, one more for each that follows.
    pub sequence: u64,
    /// See [`crate::sign::sign`].
    pub signature: [u8; 64],
    /// The canonical encoding of the statement.
    pub body: Vec<u8>,
}

/// Opens a session. Only an approver's key can sign one.
///
/// With a workspace, the folder's descriptor comes with the frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The fresh key that may ask in this session, and do nothing else.
    pub agent: KeyId,
    /// The folder as the person named it, if the session has one; shown and logged, never opened.
    pub workspace: Option<String>,
    /// Whether the person vouches for the folder's content.
    pub trusted: bool,
    /// What the session starts out having read: history, memory, attachments.
    pub label: Label,
    /// The sandbox profile.
    pub profile: String,
    /// The isolation.
    pub isolation: Tier,
    /// When the session ends by itself, in unix seconds.
    pub expires: u64,
}

/// A person's answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The question.
    pub id: ApprovalId,
    /// The action's digest, computed from what was shown.
    pub digest: Digest,
    /// The policy under which it was asked.
    pub revision: Revision,
    /// Yes, once; or no.
    pub granted: bool,
}

/// What a client asks for.
#[allow(clippy::large_enum_variant, reason = "made once, sent, dropped; a box would be one allocation more")]
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Do something. With a stream's descriptor first, then the sealed inputs the effect names.
    Act {
        /// What.
        action: Action,
        /// The approval that satisfies an ask, once granted.
        approval: Option<ApprovalId>,
    },
    /// End the session; its sandbox goes with it.
    Close {
        /// Which.
        session: SessionId,
    },
    /// Send events on this connection from now on.
    Watch,
    /// The open questions this person may answer.
    Questions,
    /// This person's sandboxes.
    Sandboxes,
    /// End a sandbox of this person's.
    Kill {
        /// Which.
        sandbox: SandboxId,
    },
    /// A descriptor of the audit log, read-only.
    Log,
    /// A proof that the log of `size` records is a beginning of the current one.
    Consistency {
        /// An earlier head's size.
        size: u64,
    },
    /// The enrolled keys.
    Keys,
    /// The daemon's state.
    Status,
    /// A descriptor of the workspace as the sandbox sees it, or saw it last, to compare with the real one.
    Changes {
        /// Which session: an open one, or one whose layer was kept.
        session: SessionId,
    },
    /// Stop everything and keep it stopped (`true`), or let work go on. A stop is answered when nothing runs any more.
    Halt {
        /// Whether to stop.
        on: bool,
        /// Everybody's work, or this person's.
        all: bool,
    },
    /// Be the console of a session whose console's connection was lost with the daemon.
    Resume {
        /// Which.
        session: SessionId,
    },
    /// This person's layers over workspaces: those of open sessions, and staged work, which was kept of sessions that ended.
    Staged {
        /// Only those after this one, where an answer before had no room for all.
        after: Option<SessionId>,
    },
    /// Throw staged work away; that of an open session when it ends, unless more is done in it until then.
    Discard {
        /// Whose layer.
        session: SessionId,
    },
    /// Carry staged work over to the real files: an action of the person's own, with [`crate::Effect::Apply`]. What is
    /// granted is done by the person's own process, which says with [`Request::Applied`] what came of it.
    Apply {
        /// What.
        action: Action,
    },
    /// What came of an [`Request::Apply`] on this connection.
    Applied {
        /// The number that the grant came with.
        intent: u64,
        /// Paths that were carried over.
        applied: u32,
        /// Paths that were not, because they are not what was shown.
        refused: u32,
    },
    /// Save the state of a sandbox in which nothing is being run for anybody: memory and processes, not files.
    Checkpoint {
        /// Which: a session's.
        sandbox: SandboxId,
    },
    /// Put what was saved last in the place of what runs now, on the workspace as it is.
    Restore {
        /// Which: the same session's.
        sandbox: SandboxId,
    },
}

/// Whatever the daemon sends after its welcome.
#[allow(clippy::large_enum_variant, reason = "made once, sent, dropped; a box would be one allocation more")]
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outgoing {
    /// The answer to the statement of that number.
    Reply {
        /// The statement's number.
        sequence: u64,
        /// The log's head, with the record of this statement in it where it left one.
        head: Head,
        /// What came of it.
        result: Result<Reply, Refusal>,
    },
    /// Something happened.
    Event(Event),
}

/// A signed head of the audit log (RFC 6962 tree head); `docs/AUDIT.md` says how to check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// Records in the log.
    pub size: u64,
    /// The Merkle tree's root over them.
    pub root: [u8; 32],
    /// When it was signed, in unix seconds.
    pub time: u64,
    /// The daemon's, in [`Context::AuditHead`].
    pub signature: [u8; 64],
}

/// What came of a statement that was not refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// Done; nothing more to say.
    Done,
    /// The session is open and its sandbox is starting.
    Opened {
        /// Its name.
        session: SessionId,
        /// Its sandbox.
        sandbox: SandboxId,
        /// The policy in force.
        revision: Revision,
        /// Its label.
        label: Label,
        /// The limits this host cannot give, by name.
        missing: Vec<String>,
    },
    /// Granted: the stream that came with the request is live.
    Running {
        /// The number of this work in its sandbox.
        work: u64,
        /// The rule that allowed it or whose ask was satisfied.
        rule: String,
        /// The session's label from now on.
        label: Label,
    },
    /// A person must say yes first.
    Pending(Box<Question>),
    /// The open questions.
    Questions(Vec<Question>),
    /// The sandboxes.
    Sandboxes(Vec<SandboxState>),
    /// The log; its descriptor comes with the frame.
    Log,
    /// The proof asked for (RFC 6962 section 2.1.2), or no proof because that size never was.
    Consistency(Vec<[u8; 32]>),
    /// The keys.
    Keys(Vec<KeyState>),
    /// The state.
    Status(Status),
    /// The workspace as the sandbox sees it; its descriptor comes with the frame.
    Changes,
    /// The layers, in the order of their sessions' names; all of them, or as many as there was room for.
    Staged(Vec<StagedState>),
    /// Granted: the person's process may carry it over. The workspace as the sandbox saw it comes with the frame.
    Applying {
        /// The number of the intent in the log, by which the outcome is told.
        intent: u64,
        /// The rule that allowed it or whose ask was satisfied.
        rule: String,
    },
}

/// A layer over a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StagedState {
    /// The session that wrote it.
    pub session: SessionId,
    /// The workspace, as the person named it at opening.
    pub workspace: String,
    /// The isolation it was written under.
    pub isolation: Tier,
    /// The profile.
    pub profile: String,
    /// What was read in the session.
    pub label: Label,
    /// How many pieces of work were granted in it: another number, another layer.
    pub generation: u64,
    /// Since when there is the layer, in unix seconds.
    pub since: u64,
    /// When the session ended, in unix seconds; none while it is open.
    pub ended: Option<u64>,
}

/// An open question: everything that the person needs to decide, and what the answer will be bound to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Question {
    /// Its name.
    pub id: ApprovalId,
    /// What would run.
    pub action: Action,
    /// The digest of `action`'s canonical bytes.
    pub digest: Digest,
    /// The session's label joined with the action's own sources.
    pub label: Label,
    /// The workspace, as the person named it at opening.
    pub workspace: String,
    /// The rule that asks.
    pub rule: String,
    /// Its reason, filled in.
    pub why: String,
    /// The user who asks.
    pub uid: u32,
    /// When the question lapses, in unix seconds.
    pub until: u64,
    /// How many more people have to say yes.
    pub wanted: u8,
    /// Whether policy lets the answer become a lease.
    pub lease: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// A question was put. To consoles only.
    Asked(Box<Question>),
    /// A question was answered or lapsed. To consoles and the asking agent.
    Decided {
        /// Which.
        id: ApprovalId,
        /// Whether it may run now.
        granted: bool,
    },
    /// Policy refused something. To consoles only: the agent is not told how to get around it.
    Denied {
        /// Whose.
        session: SessionId,
        /// What.
        action: Box<Action>,
        /// The deciding rule, or empty for the default.
        rule: String,
        /// Its reason.
        why: String,
        /// The label the decision was made on.
        label: Label,
    },
    /// A session's label rose.
    Raised {
        /// Whose.
        session: SessionId,
        /// To what.
        label: Label,
    },
    /// A piece of work ended.
    Ended {
        /// Whose.
        session: SessionId,
        /// Its number.
        work: u64,
    },
    /// A session ended.
    Closed {
        /// Which.
        session: SessionId,
    },
    /// Another policy is in force.
    Policy {
        /// Which.
        revision: Revision,
    },
    /// Everything was stopped, or may go on.
    Halted {
        /// Whether it is stopped.
        on: bool,
    },
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Stage {
    /// The runtime is being started.
    Starting,
    /// It passed the start gate.
    Ready,
    /// It has ended or is being taken down.
    Ended,
    /// It passed the start gate, and waits for the one command that it is for.
    Clean,
    /// Its processes are stopped: another one has taken its place.
    Stopped,
}

/// One sandbox as `sandbox list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SandboxState {
    /// Its name.
    pub id: SandboxId,
    /// Its session.
    pub session: SessionId,
    /// Its isolation.
    pub isolation: Tier,
    /// Its profile.
    pub profile: String,
    /// How far it is.
    pub stage: Stage,
    /// Its workspace, as the person named it.
    pub workspace: String,
    /// Pieces of work running in it.
    pub running: u32,
    /// What it has read.
    pub label: Label,
    /// Since when, in unix seconds.
    pub since: u64,
    /// What the start gate found, one bit a finding (section 18 of the protocol); nothing before that.
    pub found: Option<u32>,
    /// The devices of the host that it has, by name.
    pub devices: Vec<String>,
}

/// One enrolled key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeyState {
    /// Its file's name.
    pub name: String,
    /// The public key.
    pub key: KeyId,
    /// Whose.
    pub uid: u32,
    /// `approver`, `admin` or `publisher`.
    pub role: String,
    /// Until when, in unix seconds; 0 for no end.
    pub expires: u64,
}

/// The daemon's state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The policy in force.
    pub revision: Revision,
    /// Rules in it.
    pub rules: u32,
    /// The error that keeps a newer policy from coming into force, if there is one.
    pub policy_error: Option<String>,
    /// The runtime as pinned, or why there is none.
    pub runtime: Result<String, String>,
    /// Limits this host can give.
    pub limits: Vec<String>,
    /// Limits it cannot.
    pub missing: Vec<String>,
    /// Open sessions of this user.
    pub sessions: u32,
    /// Since when the daemon runs, in unix seconds.
    pub since: u64,
    /// The profiles.
    pub profiles: Vec<String>,
    /// Whether everything is stopped.
    pub halted: bool,
    /// The tiers besides gVisor: what each runs with, or what it lacks.
    pub tiers: Vec<(Tier, Result<String, String>)>,
    /// The devices that profiles name: what there is of each, or what it lacks.
    pub devices: Vec<(String, Result<String, String>)>,
}
