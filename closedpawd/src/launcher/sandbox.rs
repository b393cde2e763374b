//! One sandbox as the launcher knows it: folders, descriptors and processes under a random name.
#![forbid(unsafe_code)]

use super::layer::Layer;
use closedpaw_protocol::SandboxId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;

/// The first of the uids that are nobody's: two for each sandbox, its root and its relay.
///
/// Above what systemd gives to containers and below what it gives to foreign images
/// (<https://systemd.io/UIDS-GIDS/>).
const RESERVED: u32 = 1_900_000_000;

/// The most sandboxes at a time, whatever the judge says.
pub(super) const MOST: usize = 512;

/// What the launcher holds for one sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) folder: PathBuf,
    pub(super) slot: u32,
    pub(super) layer: Option<Layer>,
    /// The root filesystem that it was started on, which others of its person's use as well.
    pub(super) rootfs: Option<PathBuf>,
    /// The relay's ends of the channel, from the runtime's start to the relay's.
    pub(super) channel: Option<(OwnedFd, OwnedFd)>,
    pub(super) relay: Option<Child>,
    process: Option<OwnedFd>,
}

impl Sandbox {
    pub(super) fn new(run: &Path, id: SandboxId, slot: u32) -> io::Result<Self> {
        let folder = run.join("sandboxes").join(id.to_string());
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        Ok(Self { folder, slot, layer: None, rootfs: None, channel: None, relay: None, process: None })
    }

    /// The uid that is root inside.
    pub(super) fn root_uid(&self) -> u32 {
        RESERVED + 2 * self.slot
    }

    /// The relay's uid.
    pub(super) fn relay_uid(&self) -> u32 {
        RESERVED + 2 * self.slot + 1
    }

    /// Takes note of the runtime's process, which the runtime wrote to the pid file.
    pub(super) fn watch(&mut self) -> io::Result<Pid> {
        let pid = fs::read_to_string(self.folder.join("pid"))?;
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        self.process = Some(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(pid)
    }

    /// Signals the runtime's process: everything inside is its threads and stubs.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.process {
            Some(process) => Ok(pidfd_send_signal(process, signal)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Ends the processes; the folders go when the runtime has forgotten them.
    pub(super) fn kill(&mut self) {
        // Each may have ended by itself.
        let _ = self.signal(Signal::KILL);
        self.channel = None;
        if let Some(mut relay) = self.relay.take() {
            let _ = relay.kill();
            let _ = relay.wait();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
        self.layer = None;
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!("{}: {error}", self.folder.display());
        }
    }
}
