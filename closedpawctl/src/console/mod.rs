//! The console: the terminal, the approver key, opening sessions. It shows escaped text only.
#![deny(unsafe_code)]

pub mod ask;
pub mod child;
pub mod desktop;
pub mod embedded;
pub mod endpoints;
pub mod events;
pub mod finish;
pub mod fork;
pub mod manager;
pub mod notices;
pub mod prompt;
pub mod screen;
pub mod session;
pub mod terminal;
