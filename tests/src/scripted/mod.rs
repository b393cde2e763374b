//! A model server that says what its script says, and fails as its script says.
//!
//! It speaks the formats of real servers over TCP on 127.0.0.1 or over a Unix socket, one thread a connection.
//! It records what it was asked. A script is Rust values in a test, or JSON for the binary `scripted-model`:
//!
//! ```json
//! {"format": "ollama",
//!  "turns": [{"calls": [{"name": "list_files", "arguments": {"path": "."}}]},
//!            {"text": "Ten.", "fault": "no_done"}]}
//! ```
//!
//! A format is one file with one function that turns [`Say`] into the bytes of a response: Responses and
//! Anthropic's Messages would stand beside [`Format::Ollama`] and [`Format::OpenAi`].
#![forbid(unsafe_code)]

mod faults;
mod http;
mod obey;
mod ollama;
mod openai;
mod script;
mod server;
#[cfg(test)]
mod tests;

pub use script::{Call, Card, Fault, Format, Say, Script, Turn};
pub use server::{Address, Seen, Server};
