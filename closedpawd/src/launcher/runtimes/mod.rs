//! What runs sandboxes, one for each tier, behind one trait.
#![forbid(unsafe_code)]

mod gvisor;
mod kata;
mod process;

use super::bundle::Bundle;
use super::pin::Pin;
use super::selinux::SeLinux;
use super::setup::Programs;
use super::sys;
use crate::paths::Paths;
use closedpaw_descriptors::handover;
use closedpaw_protocol::{ErrorCode, Tier};
use gvisor::Gvisor;
use kata::Kata;
pub use kata::usual_shim as shim_of_kata;
use process::Process;
use std::path::Path;
use std::process::{Command, Stdio};

/// One tier's way to run a sandbox.
pub(super) trait Runtime {
    /// What starts a sandbox: a command that ends when the sandbox's first process runs, and has by then written that one's
    /// number to `pid` in the sandbox's folder. Standard input and output are the sandbox's channel, to be filled in.
    fn start(&mut self, bundle: &Bundle<'_>) -> Result<Command, ErrorCode>;

    /// What saves the state of a sandbox into a folder, and lets it go on.
    fn save(&mut self, _name: &str, _slot: u32, _folder: &Path) -> Result<Command, ErrorCode> {
        Err(ErrorCode::NotAvailable)
    }

    /// What makes it forget a sandbox of this name, whose processes were killed; nothing if it remembers nothing. With a slot
    /// where the sandbox is one of this launcher's.
    fn forget(&mut self, name: &str, slot: Option<u32>) -> Result<Option<Command>, ErrorCode>;
}

/// All that this daemon can drive.
pub(super) struct Runtimes {
    gvisor: Gvisor,
    process: Process,
    kata: Kata,
}

impl Runtimes {
    pub(super) fn new(paths: &Paths, programs: &Programs, selinux: Option<&SeLinux>) -> Self {
        Self {
            gvisor: Gvisor::new(paths.clone(), selinux.cloned()),
            process: Process::new(programs.process.clone(), selinux.cloned()),
            kata: Kata::new(paths.clone(), programs.shim.clone(), selinux.cloned()),
        }
    }

    /// The one for a tier. Never another one than was asked for.
    pub(super) fn of(&mut self, tier: Tier) -> Result<&mut dyn Runtime, ErrorCode> {
        match tier {
            Tier::Gvisor => Ok(&mut self.gvisor),
            Tier::Process => Ok(&mut self.process),
            Tier::Kata => Ok(&mut self.kata),
        }
    }
}

/// What a tier runs with on this machine; else what it lacks, and what to do about it.
pub fn found(tier: Tier, paths: &Paths) -> Result<String, String> {
    match tier {
        Tier::Gvisor => Pin::load(paths).map(|pin| pin.to_string()).map_err(|error| error.to_string()),
        Tier::Process => process::found(),
        Tier::Kata => kata::found(paths),
    }
}

/// A command that inherits nothing of the launcher's: no variable, no descriptor, no blocked signal.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    handover::hand_over(&mut command, Vec::new());
    sys::hear_everything(&mut command);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
