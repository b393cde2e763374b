//! The formats of model servers, as pure functions over bytes: no socket, no clock.
//!
//! A response is fed to a [`Parser`] in whatever pieces it arrives and comes out as [`Event`]s, the same ones
//! for every format and for every way of cutting. A [`turn::Turn`] is what they add up to.
#![forbid(unsafe_code)]

mod calls;
mod ndjson;
mod ollama;
mod openai;
pub mod request;
mod sse;
mod think;
pub mod turn;
mod whole;

#[cfg(test)]
mod tests;

pub use ollama::Ollama;
pub use openai::OpenAi;
pub use whole::Whole;

/// One thing a model server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the answer.
    Text(String),
    /// A piece of thinking, never part of the answer.
    Thinking(String),
    /// A tool call begins.
    ToolStart {
        /// Which call of this response, from 0.
        index: usize,
        /// The server's id; empty if it gave none.
        id: String,
        /// The tool's name, unchecked.
        name: String,
    },
    /// A piece of a call's arguments.
    ToolArgs {
        /// Which call.
        index: usize,
        /// A piece of JSON text.
        fragment: String,
    },
    /// A call is whole. It never comes for a call that was cut off.
    ToolEnd {
        /// Which call.
        index: usize,
        /// The arguments' JSON text, unchecked; `{}` if there were none.
        json: String,
    },
    /// What the server counted.
    Usage(Usage),
    /// The response is complete. Nothing follows.
    Done(Reason),
    /// The response is worth nothing. Nothing follows.
    Error(WireError),
}

/// Tokens as the server counted them; 0 where it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub prompt: u64,
    /// Tokens of the response.
    pub generated: u64,
}

/// Why a response ended. Whether there are calls is told by the calls: servers say `stop` for them, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The model was done.
    Stop,
    /// The limit was reached: what stands there is cut off.
    Length,
    /// A filter of the server ended it.
    Filtered,
    /// Something this side does not know, such as a model that was only loaded.
    Other,
}

/// Why a response is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ended before it was complete.
    #[error("the response ended in the middle")]
    CutOff,
    /// It is not what the format says.
    #[error("the response makes no sense: {0}")]
    Nonsense(&'static str),
    /// It goes beyond a limit.
    #[error("the response is too large: {0}")]
    TooLarge(&'static str),
    /// The server said that something went wrong.
    #[error("the server reports: {0}")]
    Server(String),
}

impl WireError {
    /// Whether the same request may well succeed next time.
    pub fn retryable(&self) -> bool {
        match self {
            Self::CutOff => true,
            Self::Server(text) => {
                let text = text.to_ascii_lowercase();
                ["loading", "overload", "busy", "unavailable", "try again", "timeout"]
                    .iter()
                    .any(|word| text.contains(word))
            }
            Self::Nonsense(_) | Self::TooLarge(_) => false,
        }
    }
}

/// Turns the bytes of one response into events. After `Done` or `Error` it is silent.
pub trait Parser {
    /// The next bytes, cut anywhere.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>);
    /// No more bytes will come, for whatever reason.
    fn finish(&mut self, out: &mut Vec<Event>);
    /// Whether `Done` or `Error` was given out.
    fn ended(&self) -> bool;
}

/// A server's error text, cut so that it can be shown; it comes as a string or as an object with `message`.
pub(in crate::agent) fn server_words(error: &serde_json::value::RawValue) -> String {
    #[derive(serde::Deserialize)]
    struct Object {
        message: String,
    }
    let text = serde_json::from_str::<String>(error.get())
        .or_else(|_| serde_json::from_str::<Object>(error.get()).map(|object| object.message))
        .unwrap_or_else(|_| error.get().to_owned());
    text.chars().take(MAX_SERVER_WORDS).collect()
}

const MAX_SERVER_WORDS: usize = 500;
