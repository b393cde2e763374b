//! What the events of one response add up to.
#![forbid(unsafe_code)]

use super::{Event, Reason, Usage, WireError};

/// One answer of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The model was done. Only this has calls that may be looked at.
    Complete {
        /// The answer's text.
        text: String,
        /// What it thought; some models want it back.
        thinking: String,
        /// The tool calls in their order, unchecked.
        calls: Vec<Call>,
    },
    /// The answer was cut off, and calls with it: there is nothing here that could be run.
    Truncated {
        /// The text so far.
        text: String,
        /// What cut it off.
        reason: Reason,
    },
}

/// A tool call as the model gave it, whole and unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The server's id; empty if it gave none.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments' JSON text.
    pub arguments: String,
}

/// Collects events to a [`Turn`].
#[derive(Debug, Default)]
pub struct Collector {
    text: String,
    thinking: String,
    begun: Vec<(String, String)>,
    calls: Vec<Call>,
    usage: Usage,
    end: Option<Result<Reason, WireError>>,
}

impl Collector {
    /// Takes one event.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Text(piece) => self.text.push_str(&piece),
            Event::Thinking(piece) => self.thinking.push_str(&piece),
            Event::ToolStart { id, name, .. } => self.begun.push((id, name)),
            Event::ToolArgs { .. } => {}
            Event::ToolEnd { index, json } => {
                if let Some((id, name)) = self.begun.get(index) {
                    self.calls.push(Call { id: id.clone(), name: name.clone(), arguments: json });
                }
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Done(reason) => self.end = Some(Ok(reason)),
            Event::Error(error) => self.end = Some(Err(error)),
        }
    }

    /// What the server counted.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The turn, if the response had an end.
    ///
    /// # Errors
    /// What the response ended with instead.
    pub fn finish(self) -> Result<Turn, WireError> {
        match self.end {
            Some(Ok(Reason::Stop)) => {
                Ok(Turn::Complete { text: self.text, thinking: self.thinking, calls: self.calls })
            }
            Some(Ok(reason)) => Ok(Turn::Truncated { text: self.text, reason }),
            Some(Err(error)) => Err(error),
            None => Err(WireError::CutOff),
        }
    }
}
