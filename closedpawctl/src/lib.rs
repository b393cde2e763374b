//! The person's side of ClosedPaw, as a library: the binary is three lines on top of it.
//!
//! Two processes: the [`console`], which has the terminal, the person's key and the daemon's trust in it, and the
//! [`agent`], which reads what models say and is confined before it does.
#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod client;
pub mod commands;
pub mod console;
pub mod failure;
pub mod keys;
pub mod link;
pub mod places;
pub mod staged;
pub mod weights;
pub mod work;
