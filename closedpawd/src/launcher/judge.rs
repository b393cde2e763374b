//! Starting the judge: another process of the same program, under its own uid, with three descriptors.
#![forbid(unsafe_code)]

use super::setup::SetupError;
use super::sys;
use crate::accounts::Account;
use crate::paths::Paths;
use closedpaw_descriptors::{handover, packet_pair};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The running judge and the launcher's end of the socket to it.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) socket: OwnedFd,
    pub(super) process: Child,
}

/// Starts it and waits until it says that it is ready.
pub(super) fn start(paths: &Paths, account: Account, listener: OwnedFd) -> Result<Judge, SetupError> {
    let failed = |error: io::Error| SetupError::make("starting the judge", error);
    let (socket, theirs) = packet_pair().map_err(failed)?;
    let (mut ready, done) = io::pipe().map_err(failed)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("closedpawd-judge").arg("--root").arg(paths.root()).arg("judge");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command.uid(account.uid).gid(account.gid);
    // The bounding set is cut by the judge itself; a process without root's uid has lost the others by setuid.
    handover::hand_over(&mut command, vec![theirs, listener, done.into()]);
    sys::hear_everything(&mut command);
    handover::die_with_parent(&mut command);
    let process = command.spawn().map_err(failed)?;
    drop(command);
    let mut byte = [0];
    ready.read_exact(&mut byte).map_err(|_| SetupError::Judge)?;
    Ok(Judge { socket, process })
}
