//! The tier `gvisor`: the pinned `runsc`, a kernel of its own for each sandbox.
#![forbid(unsafe_code)]

use super::super::bundle::Bundle;
use super::super::pin::Pin;
use super::super::selinux::SeLinux;
use super::super::{cgroups, internal, sys};
use super::Runtime;
use crate::paths::Paths;
use closedpaw_confine::domain;
use closedpaw_protocol::{Device, ErrorCode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// How a runtime gets hold of its programs' system calls, the best first. Never `kvm`: on a machine that only seems to have it, it
/// hangs.
const PLATFORMS: [&str; 2] = ["systrap", "ptrace"];

/// How long a runtime may take to say whether it knows one, in milliseconds.
const PATIENCE: u16 = 5000;

/// gVisor as the admin pinned it.
pub(super) struct Gvisor {
    paths: Paths,
    pinned: Option<Pinned>,
    selinux: Option<SeLinux>,
}

/// The runtime that was compared, and what it offers.
struct Pinned {
    pin: Pin,
    platform: &'static str,
}

impl Gvisor {
    pub(super) fn new(paths: Paths, selinux: Option<SeLinux>) -> Self {
        let mut gvisor = Self { paths, pinned: None, selinux };
        if let Ok(pin) = Pin::load(&gvisor.paths)
            && let Ok(platform) = gvisor.probe(&pin)
        {
            gvisor.pinned = Some(Pinned { pin, platform });
        }
        gvisor
    }

    /// The pinned runtime with the flags that every call of it has, for the sandbox with this slot or for all.
    fn command(&mut self, words: &[&str], slot: Option<u32>) -> Result<Command, ErrorCode> {
        let (pin, platform) = match self.pinned.take() {
            Some(Pinned { pin, platform }) => (pin.still_holds(), Some(platform)),
            None => (Pin::load(&self.paths), None),
        };
        let pin = pin.map_err(|error| {
            tracing::error!("{error}");
            error.code()
        })?;
        let platform = platform.map_or_else(|| self.probe(&pin), Ok)?;
        let command = self.call(&pin, platform, "runsc", words, slot);
        self.pinned = Some(Pinned { pin, platform });
        Ok(command)
    }

    fn call(&self, pin: &Pin, platform: &str, state: &str, words: &[&str], slot: Option<u32>) -> Command {
        // The file that was compared is what runs, whatever the path leads to by now. The descriptor closes on exec.
        let mut command = super::command(Path::new(&format!("/proc/self/fd/{}", pin.file().as_raw_fd())));
        command.arg0("runsc");
        command.arg("--root").arg(self.paths.run().join(state));
        command.arg("--log").arg(self.paths.runtime_log());
        command.arg(format!("--platform={platform}"));
        command.args(["--network=none", "--overlay2=none", "--host-uds=none", "--oci-seccomp"]);
        if cgroups::available().is_empty() {
            command.arg("--ignore-cgroups");
        }
        command.args(words);
        if let Some(selinux) = &self.selinux {
            selinux.runtime(&mut command, slot);
        }
        command
    }

    /// The first platform that the runtime takes: it refuses one that it does not know, whatever it is asked to do.
    fn probe(&self, pin: &Pin) -> Result<&'static str, ErrorCode> {
        for platform in PLATFORMS {
            // Where there is nothing to list: it would ask every sandbox that runs.
            let mut question = self.call(pin, platform, "nothing", &["list"], None);
            sys::in_child(&mut question, || domain::no_network().map_err(io::Error::other));
            if ends_well(question).map_err(internal)? {
                tracing::info!("launcher: gVisor's platform: {platform}");
                return Ok(platform);
            }
        }
        tracing::error!("launcher: the runtime takes none of {}", PLATFORMS.join(", "));
        Err(ErrorCode::SandboxFailed)
    }
}

/// Whether a command ends in time, and well. One that does not end is ended.
fn ends_well(mut command: Command) -> io::Result<bool> {
    let mut process = command.spawn()?;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut watched = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
    if poll(&mut watched, PollTimeout::from(PATIENCE)) != Ok(1) {
        process.kill()?;
    }
    Ok(process.wait()?.success())
}

impl Runtime for Gvisor {
    fn start(&mut self, bundle: &Bundle<'_>) -> Result<Command, ErrorCode> {
        // Create and start in one call, so that a launcher killed meanwhile leaves nothing created that nobody starts.
        let verb = if bundle.from.is_some() { "restore" } else { "run" };
        let gpus = bundle.devices.contains(Device::Nvidia).then_some("--nvproxy");
        let words: Vec<&str> = gpus.into_iter().chain([verb, "--detach"]).collect();
        let mut command = self.command(&words, Some(bundle.sandbox.domain))?;
        if let Some(state) = bundle.from {
            command.arg("--image-path").arg(state);
        }
        bundle.write().map_err(internal)?;
        let folder = &bundle.sandbox.folder;
        command.arg("--bundle").arg(folder).arg("--pid-file").arg(folder.join("pid"));
        command.arg(folder.file_name().unwrap_or_default());
        sys::in_child(&mut command, || domain::no_network().map_err(io::Error::other));
        Ok(command)
    }

    fn save(&mut self, name: &str, slot: u32, folder: &Path) -> Result<Command, ErrorCode> {
        let mut command = self.command(&["checkpoint", "--leave-running"], Some(slot))?;
        command.arg("--image-path").arg(folder).arg(name);
        sys::in_child(&mut command, || domain::no_network().map_err(io::Error::other));
        Ok(command)
    }

    fn forget(&mut self, name: &str, slot: Option<u32>) -> Result<Option<Command>, ErrorCode> {
        self.command(&["delete", "--force", name], slot).map(Some)
    }
}
