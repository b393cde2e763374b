//! The one place that turns errors into words and exit codes.
#![forbid(unsafe_code)]

use closedpaw_protocol::{ErrorCode, Refusal};
use std::fmt;

/// Why a command did not do what was asked: a stable code, the cause, the next step, the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for scripts.
    pub code: &'static str,
    /// What happened.
    pub cause: String,
    /// What the person can do.
    pub next: String,
    /// After sysexits(3).
    pub exit: u8,
}

impl Failure {
    /// A failure of the client's own.
    pub fn new(code: &'static str, exit: u8, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), next: next.into(), exit }
    }

    /// The daemon is not there or not itself.
    pub fn unreachable(cause: impl fmt::Display) -> Self {
        Self::new(
            "daemon-unreachable",
            69,
            cause.to_string(),
            "start it: systemctl start closedpawd, or use ./try; you must be in the group closedpaw",
        )
    }

    /// The connection broke off.
    pub fn lost(cause: impl fmt::Display) -> Self {
        Self::new(
            "daemon-lost",
            69,
            format!("the daemon's connection ended: {cause}"),
            "look at its journal: journalctl -u closedpawd",
        )
    }

    /// Whether it may be over in a moment, as while a daemon restarts.
    pub fn may_pass(&self) -> bool {
        self.exit == 69
    }

    /// A file of the person's.
    pub fn file(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::new("file", 66, format!("{}: {error}", path.display()), "check that it exists and is yours")
    }

    /// Interrupted by the person.
    pub fn interrupted() -> Self {
        Self::new("stopped", 130, "stopped", "nothing is left running")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let cause = match refusal.code {
            ErrorCode::Denied if refusal.detail.is_empty() => "policy denies it".to_owned(),
            ErrorCode::Halted if refusal.detail.is_empty() => "everything was stopped on purpose".to_owned(),
            ErrorCode::AnsweredNo => "the answer was no".to_owned(),
            _ if refusal.detail.is_empty() => "the daemon refuses".to_owned(),
            _ => crate::console::screen::visible(&refusal.detail),
        };
        Self::new(refusal.code.word(), refusal.code.exit_code(), cause, refusal.code.next_step())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.cause)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "\n  next: {}", self.next) }
    }
}

impl std::error::Error for Failure {}
