//! Landlock domains: which files and which network a program keeps.
#![forbid(unsafe_code)]

use crate::ConfineError;
use crate::floor::LANDLOCK;
use landlock::{
    Access, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub use landlock::AccessFs;

/// A file or folder that is kept, and for what.
pub type Place = (PathBuf, BitFlags<AccessFs>);

/// No file but under these places, as far as they exist; no TCP, no abstract socket, no signal outside this domain.
pub(crate) fn only(places: &[Place]) -> Result<(), ConfineError> {
    let mut ruleset = nothing()?;
    for (path, access) in places.iter().filter(|(path, _)| path.exists()) {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, *access))?;
    }
    enter(ruleset)
}

/// The same with one folder, which is open.
pub(crate) fn only_below(folder: BorrowedFd<'_>, access: BitFlags<AccessFs>) -> Result<(), ConfineError> {
    enter(nothing()?.add_rule(PathBeneath::new(folder, access))?)
}

/// The same without a word about TCP, for others to enter: made once, and entered by each child by its descriptor alone
/// (landlock_restrict_self(2)), between fork and exec. `None` where the kernel has no Landlock, or an older one.
#[must_use]
pub fn prepared(places: &[Place]) -> Option<OwnedFd> {
    let files = strict().handle_access(AccessFs::from_all(LANDLOCK)).ok()?;
    let mut ruleset = files.scope(Scope::from_all(LANDLOCK)).ok()?.create().ok()?;
    for (path, access) in places.iter().filter(|(path, _)| path.exists()) {
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path).ok()?, *access)).ok()?;
    }
    ruleset.into()
}

/// Everything that can be done below a folder but making devices.
#[must_use]
pub fn all_but_devices() -> BitFlags<AccessFs> {
    AccessFs::from_all(LANDLOCK) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// No TCP, no abstract socket of anybody's: the domain around the runtime's own processes.
///
/// It covers network and scopes only. A domain that handles files as well forbids `mount`, and the runtime cannot start
/// in one. Signals are not scoped: `delete` and `kill` come from runs of the runtime outside this domain, and the
/// sandbox's processes run under a uid that can signal nobody.
pub fn no_network() -> Result<(), ConfineError> {
    enter(strict().handle_access(AccessNet::from_all(LANDLOCK))?.scope(Scope::AbstractUnixSocket)?.create()?)
}

/// Asks for everything that [`only`] takes, without entering it.
pub fn available() -> Result<(), RulesetError> {
    nothing().map(drop)
}

fn nothing() -> Result<RulesetCreated, RulesetError> {
    strict()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()
}

fn strict() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

fn enter(ruleset: RulesetCreated) -> Result<(), ConfineError> {
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => Err(ConfineError::Partial),
    }
}
