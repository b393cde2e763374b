//! How a program of ours gives up what it does not need, for good: privileges, then files and network, then calls.
//!
//! All of it is per thread, so it comes before any runtime or thread starts. Which places and which calls a program
//! keeps stands in that program's own file.
#![forbid(unsafe_code)]

pub mod calls;
pub mod domain;
pub mod floor;

use calls::Calls;
use caps::CapSet;
use domain::Place;

/// The confinement could not be had; the program must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel's Landlock is missing or older than this project's floor (Linux 6.12, ABI 6).
    #[error("Landlock ABI 6 is missing (Linux 6.12 or newer with Landlock enabled is needed): {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// A place to keep that cannot be opened.
    #[error("Landlock: {0}")]
    Path(#[from] landlock::PathFdError),
    /// Landlock said yes and did less.
    #[error("Landlock is only partly enforced")]
    Partial,
    /// The seccomp filter was not accepted.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// Capabilities could not be dropped.
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// `no_new_privs` or the dumpable flag.
    #[error("prctl: {0}")]
    Prctl(#[from] nix::errno::Errno),
}

/// Gives up every capability.
pub fn no_capabilities() -> Result<(), ConfineError> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    Ok(())
}

/// Gives up all but these places and these calls, for this thread and all that it will start.
pub fn keep(places: &[Place], calls: &Calls) -> Result<(), ConfineError> {
    nix::sys::prctl::set_no_new_privs()?;
    // Keys, policy and conversations in memory are nobody's to trace or dump.
    nix::sys::prctl::set_dumpable(false)?;
    domain::only(places)?;
    calls::only(calls)
}
