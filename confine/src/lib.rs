//! How a program of ours gives up what it does not need, for good: privileges, then files and network, then calls.
//!
//! All of it is per thread, so it comes before any runtime or thread starts. Which places and which calls a program
//! keeps stands in that program's own file.
#![forbid(unsafe_code)]

pub mod calls;
pub mod domain;
pub mod filter;
pub mod floor;
#[cfg(feature = "lists")]
pub mod list;
pub mod workload;

use calls::Calls;
pub use caps::Capability;

use caps::{CapSet, CapsHashSet};
use domain::{AccessFs, Place};
use landlock::BitFlags;
use std::os::fd::BorrowedFd;

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

/// Gives up every capability but these, and every way to get others.
pub fn only_capabilities(kept: &[Capability]) -> Result<(), ConfineError> {
    let kept: CapsHashSet = kept.iter().copied().collect();
    // Cutting the bounding set takes a capability, so it comes first.
    for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
        caps::drop(None, CapSet::Bounding, *capability)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}

/// Has no program that this process, or what it starts, executes give it more than it has.
pub fn no_new_privileges() -> Result<(), ConfineError> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Gives up all but what is below one open folder and these calls, for this thread and all that it will start.
pub fn keep_below(
    folder: BorrowedFd<'_>,
    access: BitFlags<AccessFs>,
    calls: &Calls,
) -> Result<(), ConfineError> {
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_dumpable(false)?;
    domain::only_below(folder, access)?;
    calls::only(calls)
}

/// Gives up all but these places and these calls, for this thread and all that it will start.
pub fn keep(places: &[Place], calls: &Calls) -> Result<(), ConfineError> {
    nix::sys::prctl::set_no_new_privs()?;
    // Keys, policy and conversations in memory are nobody's to trace or dump.
    nix::sys::prctl::set_dumpable(false)?;
    domain::only(places)?;
    calls::only(calls)
}
