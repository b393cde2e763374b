//! A chat completion that came in one piece, from a server that does not stream.
#![forbid(unsafe_code)]

use super::openai::State;
use super::{Event, Parser, WireError};
use crate::agent::limits::Guards;

/// The parser of one response: it waits for the end.
#[derive(Debug)]
pub struct Whole {
    body: Vec<u8>,
    limit: usize,
    state: State,
}

impl Whole {
    /// A parser that gives up beyond these limits.
    pub fn new(guards: &Guards) -> Self {
        Self { body: Vec::new(), limit: guards.line, state: State::new(guards) }
    }
}

impl Parser for Whole {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        if self.state.ended() {
            return;
        }
        if self.body.len().saturating_add(bytes.len()) > self.limit {
            self.body.clear();
            return self.state.fail(WireError::TooLarge("a response in one piece"), out);
        }
        self.body.extend_from_slice(bytes);
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        if self.state.ended() {
            return;
        }
        match serde_json::from_slice::<serde::de::IgnoredAny>(&self.body) {
            Ok(_) => {
                self.state.event(&self.body, out);
                self.state.finish(out);
            }
            Err(_) => self.state.fail(WireError::CutOff, out),
        }
    }

    fn ended(&self) -> bool {
        self.state.ended()
    }
}
