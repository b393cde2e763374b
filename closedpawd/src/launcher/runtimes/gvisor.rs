//! The tier `gvisor`: the pinned `runsc`, a kernel of its own for each sandbox.
#![forbid(unsafe_code)]

use super::super::bundle::Bundle;
use super::super::pin::Pin;
use super::super::selinux::SeLinux;
use super::super::{cgroups, internal, sys};
use super::Runtime;
use crate::paths::Paths;
use closedpaw_confine::domain;
use closedpaw_protocol::ErrorCode;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// gVisor as the admin pinned it.
pub(super) struct Gvisor {
    paths: Paths,
    pin: Option<Pin>,
    selinux: Option<SeLinux>,
}

impl Gvisor {
    pub(super) fn new(paths: Paths, selinux: Option<SeLinux>) -> Self {
        let pin = Pin::load(&paths).ok();
        Self { paths, pin, selinux }
    }

    /// The pinned runtime with the flags that every call of it has, for the sandbox with this slot or for all.
    fn command(&mut self, words: &[&str], slot: Option<u32>) -> Result<Command, ErrorCode> {
        let pin = match self.pin.take() {
            Some(pin) => pin.still_holds(),
            None => Pin::load(&self.paths),
        };
        let pin = pin.map_err(|error| {
            tracing::error!("{error}");
            error.code()
        })?;
        // The file that was compared is what runs, whatever the path leads to by now. The descriptor closes on exec.
        let mut command = super::command(&PathBuf::from(format!("/proc/self/fd/{}", pin.file().as_raw_fd())));
        self.pin = Some(pin);
        command.arg0("runsc");
        command.arg("--root").arg(self.paths.run().join("runsc"));
        command.arg("--log").arg(self.paths.runtime_log());
        command.args([
            "--platform=systrap",
            "--network=none",
            "--overlay2=none",
            "--host-uds=none",
            "--oci-seccomp",
        ]);
        if cgroups::available().is_empty() {
            command.arg("--ignore-cgroups");
        }
        command.args(words);
        if let Some(selinux) = &self.selinux {
            selinux.runtime(&mut command, slot);
        }
        Ok(command)
    }
}

impl Runtime for Gvisor {
    fn start(&mut self, bundle: &Bundle<'_>) -> Result<Command, ErrorCode> {
        // Create and start in one call, so that a launcher killed meanwhile leaves nothing created that nobody starts.
        let mut command = self.command(&["run", "--detach"], Some(bundle.sandbox.slot))?;
        bundle.write().map_err(internal)?;
        let folder = &bundle.sandbox.folder;
        command.arg("--bundle").arg(folder).arg("--pid-file").arg(folder.join("pid"));
        command.arg(folder.file_name().unwrap_or_default());
        sys::in_child(&mut command, || domain::no_network().map_err(io::Error::other));
        Ok(command)
    }

    fn forget(&mut self, name: &str, slot: Option<u32>) -> Result<Option<Command>, ErrorCode> {
        self.command(&["delete", "--force", name], slot).map(Some)
    }
}
