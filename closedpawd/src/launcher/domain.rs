//! The Landlock domain around the runtime's own processes: no TCP, no abstract socket of anybody's.
//!
//! It covers network and scopes only. A domain that handles files as well forbids `mount`, and the runtime cannot start
//! in one. Signals are not scoped: `delete` and `kill` come from runs of the runtime outside this domain, and the
//! sandbox's processes run under a uid that can signal nobody.
#![forbid(unsafe_code)]

use landlock::{
    ABI, Access, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use std::io;

/// Enters the domain; for the child between fork and exec.
pub(super) fn no_network() -> io::Result<()> {
    let enter = || -> Result<RulesetStatus, RulesetError> {
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::AbstractUnixSocket)?
            .create()?
            // The runtime's user namespace needs set-user-ID programs for nothing; it may lose them.
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match enter() {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced) => {
            Err(io::Error::other("Landlock"))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
