//! What is decided: an action, who asks, and what that session has read. Everything comes in from outside.
#![forbid(unsafe_code)]

use crate::{Grounded, Role};
use closedpaw_protocol::{Action, Label};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user the connection comes from.
    pub uid: u32,
    /// Its groups, by number; never looked up by name.
    pub groups: &'a [u32],
    /// What the asking key is enrolled as.
    pub role: Role,
}

/// Somebody's yes to exactly this action.
///
/// Whoever makes one vouches that it names this action's digest, this session and this revision, and was not used.
#[derive(Debug, Clone, Copy)]
pub struct Approval<'a> {
    /// Whose it is.
    pub uid: u32,
    /// Their groups, by number.
    pub groups: &'a [u32],
    /// The second from which it counts no more.
    pub until: u64,
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who asks.
    pub subject: Subject<'a>,
    /// For what.
    pub action: &'a Action,
    /// The session's label joined with the action's own sources.
    pub label: &'a Label,
    /// Which arguments the person typed.
    pub grounded: Grounded,
    /// Who has said yes to this very action.
    pub approvals: &'a [Approval<'a>],
    /// The second it is, in the same count as every `until`.
    pub now: u64,
}
