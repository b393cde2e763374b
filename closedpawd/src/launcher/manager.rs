//! What the service manager is told (sd_notify(3)). Without one, nothing.
#![forbid(unsafe_code)]

use crate::pulse::Pulse;
use sd_notify::NotifyState::{self, Ready, Reloading, Status, Stopping, Watchdog};

/// The judge has said something of itself.
pub(super) fn pulse(pulse: Pulse) {
    match pulse {
        Pulse::Ready => tell(&[Ready, Status("serving")]),
        Pulse::Kept => {
            tell(&[Ready, Status("serving; the policy has errors, and the one before stays in force")])
        }
        Pulse::Beat => tell(&[Watchdog]),
    }
}

/// A reload begins; the judge's next word but a beat says that it is over.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[Reloading, now]),
        Err(error) => tracing::warn!("launcher: the monotonic clock: {error}"),
    }
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[Stopping, Status("ending sandboxes")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("launcher: the service manager cannot be told: {error}");
    }
}
