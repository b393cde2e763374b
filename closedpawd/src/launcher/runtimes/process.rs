//! The tier `process`: namespaces around a program of our own, and the host's kernel.
#![forbid(unsafe_code)]

use super::super::bundle::Bundle;
use super::super::selinux::SeLinux;
use super::super::{cgroups, internal, setup, sys};
use super::Runtime;
use closedpaw_protocol::{Device, ErrorCode};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The program that makes the namespaces.
pub(super) struct Process {
    program: PathBuf,
    selinux: Option<SeLinux>,
}

impl Process {
    pub(super) fn new(program: PathBuf, selinux: Option<SeLinux>) -> Self {
        Self { program, selinux }
    }
}

/// Where it is, or what is missing.
pub(super) fn found() -> Result<String, String> {
    let folder = setup::libexec().map_err(|error| error.to_string())?;
    let program = folder.join(setup::PROCESS);
    if !program.is_file() {
        return Err(format!("{} is missing; reinstall closedpaw", program.display()));
    }
    if fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|most| most.trim() == "0") {
        return Err("this kernel makes no user namespaces: sysctl user.max_user_namespaces".to_owned());
    }
    Ok(format!("{}; the host's own kernel", program.display()))
}

impl Runtime for Process {
    fn start(&mut self, bundle: &Bundle<'_>) -> Result<Command, ErrorCode> {
        if !self.program.is_file() {
            return Err(ErrorCode::TierMissing);
        }
        if bundle.from.is_some() {
            return Err(ErrorCode::NotAvailable);
        }
        let (sandbox, limits) = (bundle.sandbox, bundle.bounded());
        let mut command = super::command(&self.program);
        command.arg(&bundle.rootfs.root).arg(sandbox.folder.join("pid"));
        let ids = [sandbox.root_uid(), bundle.uid, bundle.gid, limits.files, limits.pids];
        command.args(ids.map(|number| number.to_string())).arg(limits.tmp.to_string());
        command.arg(u8::from(bundle.devices.contains(Device::Kvm)).to_string());
        command.arg(u8::from(bundle.rootfs.host).to_string());
        if let Some(merged) = bundle.workspace {
            command.arg(merged);
        }
        // The sandbox itself has none; why it could not be made is for the journal.
        command.stderr(Stdio::inherit());
        if let Some(own) = cgroups::make(&sandbox.folder, limits, bundle.disks).map_err(internal)? {
            sys::in_child(&mut command, move || fs::write(&own, "0"));
        }
        if let Some(selinux) = &self.selinux {
            selinux.process(&mut command, sandbox.domain);
        }
        Ok(command)
    }

    /// What there is of it is its processes, and its folder.
    fn forget(&mut self, _name: &str, _slot: Option<u32>) -> Result<Option<Command>, ErrorCode> {
        Ok(None)
    }
}
