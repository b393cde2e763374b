//! The confined half of the client: it holds the conversation and chooses tools.
//!
//! It opens nothing. A connection to a model comes from [`ports::Dial`], the work goes to [`ports::Hands`],
//! what the person reads goes to [`ports::Voice`]; the rest is decisions over bytes. Whatever the model server
//! sends is hostile: every parser here is bounded and none may panic.
//!
//! The order to read in: [`ports`], [`tools`], [`discover`], [`conversation`]; then [`wire`] for the formats.
#![forbid(unsafe_code)]

mod chat;
pub mod confine;
pub mod conversation;
pub mod discover;
pub mod hands;
pub mod http;
pub mod limits;
pub mod ports;
pub mod process;
pub mod rescue;
pub mod steps;
#[cfg(test)]
mod testing;
pub mod tools;
pub mod wire;
pub mod wrap;
