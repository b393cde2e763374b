//! How a program of ours gives up what it does not need: Landlock, then a seccomp allow-list.
//!
//! Both are per thread, so this runs before any runtime or thread starts.
#![forbid(unsafe_code)]

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;

/// The confinement could not be had; the program must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel's Landlock is missing or older than this project's floor (Linux 6.12, ABI 6).
    #[error("Landlock ABI 6 is missing (Linux 6.12 or newer with Landlock enabled is needed): {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// Landlock said yes and did less.
    #[error("Landlock is only partly enforced")]
    Partial,
    /// The seccomp filter was not accepted.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The filter could not be built.
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// Privileges could not be dropped.
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// `no_new_privs` or the dumpable flag.
    #[error("prctl: {0}")]
    Prctl(#[from] std::io::Error),
}

/// The Landlock version that Linux 6.12 has.
const FLOOR: ABI = ABI::V6;

/// No file, no TCP, no abstract socket, no signal outside this domain.
pub fn no_files_no_network() -> Result<(), ConfineError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(FLOOR))?
        .handle_access(AccessNet::from_all(FLOOR))?
        .scope(Scope::from_all(FLOOR))?
        .create()?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::FullyEnforced { Ok(()) } else { Err(ConfineError::Partial) }
}

/// Lets only these system calls through; any other kills the process.
pub fn allow_only(calls: &[(i64, Vec<SeccompRule>)]) -> Result<(), ConfineError> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = calls.iter().cloned().collect();
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
