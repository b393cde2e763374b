//! Waiting for a condition, with an end to it.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// How long anything may take before a test gives it up; far more than it takes even on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const OFTEN: Duration = Duration::from_millis(5);

/// Looks until there is something to see; panics with `what` if that takes too long.
#[track_caller]
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LONG, look).unwrap_or_else(|| panic!("waited too long: {what}"))
}

/// Looks until there is something to see, or the time is over.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(OFTEN);
    }
}
