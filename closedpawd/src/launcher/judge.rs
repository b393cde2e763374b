//! Starting the judge: another process of the same program, under its own uid, with four descriptors.
#![forbid(unsafe_code)]

use super::setup::SetupError;
use super::store::Parts;
use super::sys;
use crate::accounts::Account;
use crate::paths::Paths;
use crate::pulse::Pulse;
use crate::verbs::Left;
use closedpaw_descriptors::{frames, handover, packet_pair};
use closedpaw_protocol::SandboxId;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
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
    left: &[(SandboxId, Parts)],
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
    // A judge that has ended already has said why, and is noticed below.
    let _ = tell_of(&socket, left);
    let mut judge = Judge { socket, process, pulse };
    match judge.heard() {
        Ok(Some(Pulse::Ready)) => Ok(judge),
        Ok(_) | Err(_) => Err(SetupError::Judge),
    }
}

/// Hands over what an earlier daemon has left, before anything else is said.
fn tell_of(socket: &OwnedFd, left: &[(SandboxId, Parts)]) -> io::Result<()> {
    for (id, parts) in left {
        let left = if parts.control.is_some() { Left::Sandbox(*id) } else { Left::Layer(*id) };
        let parts = [&parts.control, &parts.memory, &parts.merged];
        let descriptors: Vec<_> = parts.into_iter().flatten().map(AsFd::as_fd).collect();
        frames::send_packet(socket, &left.to_bytes(), &descriptors)?;
    }
    frames::send_packet(socket, &Left::End.to_bytes(), &[])
}

impl Judge {
    /// What it says of itself next; `None` if it has ended, or said something that is none of that.
    pub(super) fn heard(&mut self) -> io::Result<Option<Pulse>> {
        let mut byte = [0];
        Ok(if self.pulse.read(&mut byte)? == 1 { Pulse::from_byte(byte[0]) } else { None })
    }
}
