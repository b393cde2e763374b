//! The tier `kata`: a virtual machine for each sandbox, by way of Kata Containers' shim and without containerd.
//!
//! The shim is spoken to by a program of ours, `closedpaw-shim`: a parser of what it says has no place in the launcher.
#![forbid(unsafe_code)]

use super::super::bundle::Bundle;
use super::super::pin::{Pin, PinError, Pinned};
use super::super::selinux::SeLinux;
use super::super::{cgroups, internal, setup, sys};
use super::Runtime;
use crate::paths::Paths;
use crate::verbs::Limits;
use closedpaw_protocol::ErrorCode;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the shim is where packages and Kata's own releases put it, the first that there is.
const PLACES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/opt/kata/bin"];

/// The shim's program.
const NAME: &str = "containerd-shim-kata-v2";

/// What the shim does not start a virtual machine without, and what to do about it.
const NEEDS: [(&str, &str); 2] = [
    ("/dev/kvm", "enable virtualisation in the firmware and load kvm_intel or kvm_amd"),
    ("/dev/vhost-vsock", "modprobe vhost_vsock"),
];

/// What it does not start itself without. A confined daemon has no business there, so it is looked at where there is a shim.
const LOG: (&str, &str) = ("/dev/log", "start systemd-journald or another system log");

/// Kata Containers as the admin pinned it.
pub(super) struct Kata {
    paths: Paths,
    program: PathBuf,
    pinned: Option<Pin>,
    selinux: Option<SeLinux>,
}

/// Where the shim is, or would be.
pub fn usual_shim() -> PathBuf {
    let places = || PLACES.into_iter().map(|folder| Path::new(folder).join(NAME));
    places().find(|place| place.is_file()).or_else(|| places().next_back()).unwrap_or_default()
}

/// What runs a virtual machine here; else everything that is missing.
pub(super) fn found(paths: &Paths) -> Result<String, String> {
    let program = match setup::libexec().map(|folder| folder.join(setup::SHIM)) {
        Ok(program) if program.is_file() => None,
        Ok(program) => Some(format!("{} is missing; reinstall closedpaw", program.display())),
        Err(error) => Some(error.to_string()),
    };
    let pin = Pin::of(Pinned::Kata, paths);
    let missing: Vec<String> = program.into_iter().chain(missing(pin.as_ref().err(), Path::exists)).collect();
    match pin {
        Ok(pin) if missing.is_empty() => Ok(pin.to_string()),
        _ => Err(format!("Kata Containers cannot run here: {}", missing.join(". "))),
    }
}

/// What is missing of a machine's needs, where this is what is wrong with the shim's pin.
fn missing(pin: Option<&PinError>, is_there: impl Fn(&Path) -> bool) -> Vec<String> {
    let needs = NEEDS.into_iter().chain(pin.is_none().then_some(LOG));
    let devices = needs
        .filter(|(device, _)| !is_there(Path::new(device)))
        .map(|(device, remedy)| format!("{device} is missing; {remedy}"));
    pin.map(ToString::to_string).into_iter().chain(devices).collect()
}

impl Kata {
    pub(super) fn new(paths: Paths, program: PathBuf, selinux: Option<SeLinux>) -> Self {
        Self { paths, program, pinned: None, selinux }
    }

    /// Our program with the words that every call of it has.
    fn command(&mut self, word: &str, name: &str, slot: Option<u32>) -> Result<Command, ErrorCode> {
        if !self.program.is_file() {
            return Err(ErrorCode::TierMissing);
        }
        let pin = match self.pinned.take() {
            Some(pin) => pin.still_holds(),
            None => Pin::of(Pinned::Kata, &self.paths),
        };
        let pin = pin.map_err(|error| {
            tracing::error!("{error}");
            error.code()
        })?;
        let mut command = super::command(&self.program);
        // By its name: it looks there for itself to start its server, and the folder is root's all the way up.
        command.arg(word).arg("--shim").arg(pin.path());
        command.arg("--bundle").arg(self.folder(name)).arg("--id").arg(name);
        self.pinned = Some(pin);
        // Why something could not be done is for the journal; the shim itself gets none of it.
        command.stderr(Stdio::inherit());
        if let Some(selinux) = &self.selinux {
            selinux.runtime(&mut command, slot);
        }
        Ok(command)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.paths.run().join("sandboxes").join(name)
    }
}

impl Runtime for Kata {
    fn start(&mut self, bundle: &Bundle<'_>) -> Result<Command, ErrorCode> {
        if bundle.from.is_some() {
            return Err(ErrorCode::NotAvailable);
        }
        let folder = &bundle.sandbox.folder;
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or(ErrorCode::Internal)?;
        let mut command = self.command("start", name, Some(bundle.sandbox.domain))?;
        bundle.write_for_machine().map_err(internal)?;
        command.arg("--pid-file").arg(folder.join("pid"));
        if let Some(merged) = bundle.workspace {
            // It may be another sandbox's of the same session.
            command.arg("--keep").arg(merged);
        }
        // Memory is the machine's own, and so are its processes: they are bounded by its size, and inside it.
        let outside = Limits { memory: 0, pids: 0, ..bundle.bounded() };
        if let Some(own) = cgroups::make(folder, outside, bundle.disks).map_err(internal)? {
            sys::in_child(&mut command, move || fs::write(&own, "0"));
        }
        Ok(command)
    }

    fn forget(&mut self, name: &str, slot: Option<u32>) -> Result<Option<Command>, ErrorCode> {
        self.command("delete", name, slot).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of them, with what to do next.
    #[test]
    fn what_is_missing_is_named_whole() {
        let unpinned = PinError::Unpinned { what: Pinned::Kata };
        let said = missing(Some(&unpinned), |_| false).join(". ");
        for part in
            ["closedpawd pin --kata", "/opt/kata", "/dev/kvm", "kvm_amd", "/dev/vhost-vsock", "vhost_vsock"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("runsc"), "{said}");
        assert_eq!(missing(None, |_| true), Vec::<String>::new());
        let one = missing(None, |place| place != Path::new("/dev/log"));
        assert!(one.len() == 1 && one[0].starts_with("/dev/log is missing; "), "{one:?}");
    }
}
