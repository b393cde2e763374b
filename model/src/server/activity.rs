//! When there was last something to do.

#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counts the requests under way.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    under_way: usize,
    last: Instant,
}

/// A request under way, for as long as it is held.
#[derive(Debug)]
pub(super) struct Busy(Activity);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { under_way: 0, last: Instant::now() })))
    }
}

impl Activity {
    pub(super) fn begin(&self) -> Busy {
        self.state().under_way += 1;
        Busy(self.clone())
    }

    /// How long there was nothing; zero while there is something.
    pub(super) fn quiet_for(&self) -> Duration {
        let state = self.state();
        if state.under_way > 0 { Duration::ZERO } else { state.last.elapsed() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_not_quiet() {
        let activity = Activity::default();
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(activity.quiet_for(), Duration::ZERO);
        drop(second);
        assert!(activity.quiet_for() < Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(5));
        assert!(activity.quiet_for() >= Duration::from_millis(5));
    }
}
