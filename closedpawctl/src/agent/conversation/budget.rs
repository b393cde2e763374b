//! What one conversation and one question may use up. Reaching an end is an error, never a silence.
#![forbid(unsafe_code)]

use super::AskError;
use crate::agent::chat::Heard;
use crate::agent::limits::Limits;

/// For the whole conversation.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spent {
    received: usize,
    tokens: u64,
}

/// For one question.
#[derive(Debug, Default)]
pub(super) struct Counted {
    turns: usize,
    pub(super) calls: usize,
    pub(super) failed: usize,
}

impl Spent {
    pub(super) fn check(&self, limits: &Limits) -> Result<(), AskError> {
        let over = self.received > limits.received || self.tokens > limits.tokens;
        if over { Err(AskError::BudgetSpent) } else { Ok(()) }
    }

    /// Servers that do not count are charged by what they sent.
    pub(super) fn add(&mut self, heard: &Heard) {
        let counted = heard.usage.prompt.saturating_add(heard.usage.generated);
        let tokens = if counted == 0 { heard.received as u64 / 4 } else { counted };
        self.tokens = self.tokens.saturating_add(tokens);
        self.received = self.received.saturating_add(heard.received);
    }
}

impl Counted {
    pub(super) fn turn(&mut self, limit: usize) -> Result<(), AskError> {
        self.turns += 1;
        if self.turns > limit { Err(AskError::TooManyTurns(limit)) } else { Ok(()) }
    }

    pub(super) fn call(&mut self, limit: usize) -> Result<(), AskError> {
        self.calls += 1;
        if self.calls > limit { Err(AskError::TooManyCalls(limit)) } else { Ok(()) }
    }
}
