//! One file a command.
#![forbid(unsafe_code)]

pub mod approvals;
pub mod audit;
pub mod doctor;
pub mod key;
pub mod model;
pub mod policy;
pub mod run;
pub mod sandbox;
pub mod status;

use crate::console::screen;

/// Prints one JSON document to standard output.
pub fn json(value: &serde_json::Value) {
    screen::out(&format!("{value:#}\n"));
}

/// Prints a line for people to standard output; what others wrote in it is escaped.
pub fn line(text: &str) {
    screen::out(&format!("{}\n", screen::visible(text)));
}
