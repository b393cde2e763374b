//! What a judge leaves for the one that comes after it: a session, and the work that runs in it. It lies in memory that only
//! the daemon's own processes and the service manager hold.
#![forbid(unsafe_code)]

use crate::{KeyId, Label, SandboxId, SessionId, Tier};
use bincode::{Decode, Encode};

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Kept {
    /// Its name.
    pub session: SessionId,
    /// Whose it is.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// The public half of its agent's key.
    pub agent: KeyId,
    /// The workspace, as the opening named it.
    pub workspace: Option<String>,
    /// Whether the person vouches for it.
    pub trusted: bool,
    /// The sandbox profile.
    pub profile: String,
    /// The tier.
    pub isolation: Tier,
    /// Whether each command has a sandbox of its own.
    pub apart: bool,
    /// When it ends by itself, in unix seconds.
    pub expires: u64,
    /// Since when there is the sandbox, in unix seconds.
    pub since: u64,
    /// What has been read in it.
    pub label: Label,
    /// The number of the next piece of work.
    pub next: u64,
    /// How many files its layer held before anything was done in it, as its filesystem counts.
    pub blank: Option<u64>,
    /// Which of its two places holds the state that was saved last, if any was.
    pub saved: Option<u8>,
    /// The sandbox with that state, where it has taken the place of the session's own.
    pub restored: Option<SandboxId>,
    /// When it ended, in unix seconds, if it is over and its layer is kept.
    pub ended: Option<u64>,
    /// What runs, by its number.
    pub works: Vec<(u64, KeptWork)>,
}

/// A piece of work whose outcome is still to be written.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeptWork {
    /// The `seq` of its intent in the log.
    pub intent: u64,
    /// When it was granted, in unix milliseconds.
    pub since: u64,
    /// The sandbox that it has to itself, where it is not the session's.
    pub apart: Option<SandboxId>,
}
