//! Starting the judge: another process of the same program, under its own uid, with four descriptors.
#![forbid(unsafe_code)]

use super::setup::SetupError;
use super::sys;
use crate::accounts::Account;
use crate::paths::Paths;
use crate::pulse::Pulse;
use closedpaw_descriptors::{handover, packet_pair};
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The running judge, the launcher's end of the socket to it, and what it says of itself.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) socket: OwnedFd,
    pub(super) process: Child,
    pub(super) pulse: PipeReader,
}

/// Starts it and waits until it says that it is ready.
pub(super) fn start(
    paths: &Paths,
    account: Account,
    listener: OwnedFd,
    key: File,
) -> Result<Judge, SetupError> {
    let failed = |error: io::Error| SetupError::make("starting the judge", error);
    let (socket, theirs) = packet_pair().map_err(failed)?;
    let (pulse, theirs_pulse) = io::pipe().map_err(failed)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("closedpawd-judge").arg("--root").arg(paths.root()).arg("judge");
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
    command.uid(account.uid).gid(account.gid);
    // The bounding set is cut by the judge itself; a process without root's uid has lost the others by setuid.
    handover::hand_over(&mut command, vec![theirs, listener, theirs_pulse.into(), key.into()]);
    sys::hear_everything(&mut command);
    handover::die_with_parent(&mut command);
    let process = command.spawn().map_err(failed)?;
    drop(command);
    let mut judge = Judge { socket, process, pulse };
    match judge.heard() {
        Ok(Some(Pulse::Ready)) => Ok(judge),
        Ok(_) | Err(_) => Err(SetupError::Judge),
    }
}

impl Judge {
    /// What it says of itself next; `None` if it has ended, or said something that is none of that.
    pub(super) fn heard(&mut self) -> io::Result<Option<Pulse>> {
        let mut byte = [0];
        Ok(if self.pulse.read(&mut byte)? == 1 { Pulse::from_byte(byte[0]) } else { None })
    }
}
