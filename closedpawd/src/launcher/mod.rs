//! The launcher: root, with a bounded set of capabilities, obeying six verbs of fixed size.
//!
//! It has no parser for anything a client, a model, a sandbox or the network wrote. What it reads: its own command
//! line, files that only root can write, fixed-size orders of the judge.
#![deny(unsafe_code)]

mod bundle;
mod cgroups;
mod devices;
mod disks;
mod image;
mod judge;
mod layer;
mod manager;
mod orphans;
mod pin;
mod privileges;
mod runtimes;
mod sandbox;
mod saved;
mod schedule;
mod selinux;
mod serve;
mod setup;
mod store;
mod sys;
mod tidy;

pub use cgroups::{LIMITS, available as available_limits, events};
pub use devices::found_device;
pub use pin::{Pin, PinError, Pinned, write as write_pin};
pub use runtimes::{found, shim_of_kata};
pub(crate) use sandbox::{IMAGE_NOTE, RESERVED_END};
pub(crate) use setup::libexec;
pub use setup::{SetupError, check_kernel};

use crate::accounts;
use crate::paths::Paths;
use closedpaw_confine::floor;
use closedpaw_protocol::{ErrorCode, Tier};
use std::process::ExitCode;

/// Sets everything up, starts the judge, and serves it until one of them ends.
pub fn run(paths: &Paths) -> ExitCode {
    match start(paths) {
        Ok(launcher) => launcher.serve(),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(paths: &Paths) -> Result<serve::Launcher, SetupError> {
    setup::check_root()?;
    setup::check_kernel(&floor::release().map_err(|error| SetupError::make("uname", error))?)?;
    let account = accounts::judge().map_err(SetupError::Account)?;
    setup::private_mounts()?;
    cgroups::narrow().map_err(|error| SetupError::make("the cgroup of the sandboxes", error))?;
    setup::folders(paths, account)?;
    let key = setup::daemon_key(paths, account)?;
    let inherited =
        store::inherit().map_err(|error| SetupError::make("descriptors of the manager's", error))?;
    let socket = setup::socket(paths, account, inherited.listener)?;
    let programs = setup::Programs::find()?;
    // Children start with an empty mask again; see `sys`.
    serve::heard().thread_block().map_err(|error| SetupError::make("blocking signals", error))?;
    orphans::adopt().map_err(|error| SetupError::make("PR_SET_CHILD_SUBREAPER", error))?;
    let (sandboxes, left) = serve::take_back(paths, inherited.sandboxes);
    let judge = judge::start(paths, account, socket, key, &left)?;
    let held = privileges::drop_to_needed(found(Tier::Kata, paths).is_ok())?;
    let runtime = pin::Pin::load(paths);
    let limits = cgroups::available();
    let selinux = selinux::SeLinux::find();
    tracing::info!(
        "launcher: uid 0, capabilities {held}; reads six verbs from the judge and nothing else; runtime {}; limits here: {}; {}",
        runtime.as_ref().map_or_else(ToString::to_string, ToString::to_string),
        if limits.is_empty() { "none (no cgroup v2 controllers)".to_owned() } else { limits.join(", ") },
        if selinux.is_some() {
            "SELinux: a domain and categories for each sandbox"
        } else {
            "no SELinux domains here"
        },
    );
    Ok(serve::Launcher::new(paths.clone(), programs, judge, selinux, sandboxes))
}

/// A fault of the host's; the journal has it, the client gets a code.
fn internal(error: impl std::fmt::Display) -> ErrorCode {
    tracing::error!("launcher: {error}");
    ErrorCode::SandboxFailed
}
