//! The embedded default model: a small program that answers the OpenAI chat format on one Unix
//! socket, and can do nothing else.
//!
//! It runs as the person, and what it reads is hostile: the weights until their digest is compared,
//! the conversation always. So it confines itself before the first byte of either
//! ([`confine`]), and its types keep that order: weights are [`weights::Opened`], then
//! [`confine::Confined`], then [`weights::Verified`], and only those can be loaded.
//!
//! ```no_run
//! use closedpaw_model::{confine::confine, engine::{Engine, Settings}, error::Error, weights::{Opened, Verified}};
//! fn load(opened: Opened, pin: &str, settings: Settings) -> Result<Engine, Error> {
//!     Engine::load(&Verified::new(confine(opened)?, pin)?, settings)
//! }
//! ```
//!
//! Leaving out a step does not compile:
//!
//! ```compile_fail,E0308
//! use closedpaw_model::{confine::confine, engine::{Engine, Settings}, error::Error, weights::{Opened, Verified}};
//! fn load(opened: Opened, pin: &str, settings: Settings) -> Result<Engine, Error> {
//!     Engine::load(&Verified::new(opened, pin)?, settings)
//! }
//! ```

pub mod chat;
pub mod cli;
pub mod confine;
pub mod engine;
pub mod error;
pub mod prompt;
pub mod reply;
pub mod schema;
pub mod server;
pub mod socket;
pub mod sys;
pub mod text;
pub mod weights;
