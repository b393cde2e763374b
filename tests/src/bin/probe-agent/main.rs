//! Tries one thing that an agent must not be able to do: `probe-agent (confined|open) WHAT [PID]`.
//!
//! `confined` gives up everything first, with the agent's own code; `open` does not, which shows that the try itself is
//! sound. What has to be made ready, such as a descriptor that a confined process might have been handed, is made ready
//! before. The exit status is 0 if the try worked, else its errno; 99 if the confinement could not be had.
#![deny(unsafe_code)]

mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mode, what, victim) = match words.as_slice() {
        [mode, what] => (*mode, *what, None),
        [mode, what, victim] => (*mode, *what, victim.parse().ok()),
        _ => return ExitCode::from(98),
    };
    let Some(attempt) = sys::prepare(what, victim.unwrap_or(0)) else { return ExitCode::from(98) };
    if mode == "confined" && closedpawctl::agent::confine::confine().is_err() {
        return ExitCode::from(99);
    }
    ExitCode::from(attempt())
}
