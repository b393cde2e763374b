//! The daemon: a root launcher that obeys six verbs, and an unprivileged judge that decides.
//!
//! Start reading at [`judge::pipeline`]: the whole way of a request is on that one screen.
#![deny(unsafe_code)]

pub mod accounts;
pub mod check;
pub mod cli;
mod images;
pub mod judge;
pub mod launcher;
pub mod paths;
pub mod pulse;
pub mod upkeep;
pub mod verbs;
