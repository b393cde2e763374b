//! Devices of the host that a profile may name: what there is of each, by looking at its nodes.
#![forbid(unsafe_code)]

use closedpaw_protocol::{Device, ErrorCode};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use rustix::fs::{major, minor};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the kernel has its devices.
const DEV: &str = "/dev";

/// The most GPUs that are looked for.
const GPUS: u32 = 32;

/// A character device, as a sandbox is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    path: PathBuf,
    major: u32,
    minor: u32,
}

/// What there is of a device on this machine, else what it lacks and what to do about it.
pub fn found_device(device: Device) -> Result<String, String> {
    let nodes = nodes(device, Path::new(DEV))?;
    let paths: Vec<String> = nodes.iter().map(|node| node.path.display().to_string()).collect();
    Ok(paths.join(", "))
}

/// The nodes of all these, or the refusal of whoever asked for one that is not here.
pub(super) fn all(devices: impl Iterator<Item = Device>) -> Result<Vec<Node>, ErrorCode> {
    let mut all = Vec::new();
    for device in devices {
        all.extend(nodes(device, Path::new(DEV)).map_err(|lacking| {
            tracing::error!("launcher: {}: {lacking}", device.name());
            ErrorCode::DeviceMissing
        })?);
    }
    Ok(all)
}

fn nodes(device: Device, dev: &Path) -> Result<Vec<Node>, String> {
    match device {
        Device::Kvm => Ok(vec![node("kvm", dev).ok_or(
            "there is no /dev/kvm: load the module kvm_intel or kvm_amd, with virtualization on in the firmware, and let the \
             daemon's unit have it (docs/ISOLATION.md, Devices)",
        )?]),
        Device::Nvidia => {
            let needed = |name: &str| {
                node(name, dev).ok_or_else(|| {
                    format!(
                        "there is no /dev/{name}: load NVIDIA's driver (nvidia-modprobe -c 0 -u), and let the daemon's unit have \
                         its devices (docs/ISOLATION.md, Devices)"
                    )
                })
            };
            let mut nodes = vec![needed("nvidiactl")?, needed("nvidia-uvm")?, needed("nvidia0")?];
            nodes.extend((1..GPUS).filter_map(|number| node(&format!("nvidia{number}"), dev)));
            Ok(nodes)
        }
    }
}

/// A character device of this name. Whatever else has the name is none.
fn node(name: &str, dev: &Path) -> Option<Node> {
    let found = fs::metadata(dev.join(name)).ok().filter(|found| found.file_type().is_char_device())?;
    let (major, minor) = (major(found.rdev()), minor(found.rdev()));
    Some(Node { path: Path::new(DEV).join(name), major, minor })
}

impl Node {
    /// The node in the OCI runtime's words (config-linux.md, "Devices"). Anybody in the sandbox may open it: there is one person.
    pub(super) fn device(&self) -> Result<LinuxDevice, OciSpecError> {
        LinuxDeviceBuilder::default()
            .path(&self.path)
            .typ(LinuxDeviceType::C)
            .major(i64::from(self.major))
            .minor(i64::from(self.minor))
            .file_mode(0o666u32)
            .build()
    }

    /// What the sandbox's cgroup allows of it ("Allowed Device list"): to open it, and to make no other of its kind.
    pub(super) fn allowed(&self) -> Result<LinuxDeviceCgroup, OciSpecError> {
        LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(LinuxDeviceType::C)
            .major(i64::from(self.major))
            .minor(i64::from(self.minor))
            .access("rw")
            .build()
    }
}

/// All other devices: none of them.
pub(super) fn no_other() -> Result<LinuxDeviceCgroup, OciSpecError> {
    LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A node that no machine needs to have.
    pub(in super::super) fn fake(path: &str, major: u32, minor: u32) -> Node {
        Node { path: path.into(), major, minor }
    }

    fn folder(of: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("closedpaw-devices-{of}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn without_the_hardware_its_name_and_the_next_step_are_told() {
        let dev = folder("none");
        let lacking = |device| nodes(device, &dev).unwrap_err();
        assert!(lacking(Device::Kvm).contains("no /dev/kvm: load the module"));
        assert!(lacking(Device::Nvidia).contains("no /dev/nvidiactl: load NVIDIA's driver"));
        // What is there by that name is a file, and no device.
        fs::write(dev.join("kvm"), "").unwrap();
        assert!(lacking(Device::Kvm).contains("no /dev/kvm"));
        fs::remove_dir_all(dev).unwrap();
    }

    /// `null` and `zero` of the kernel's (devices.txt: 1:3, 1:5) stand for the rest.
    #[test]
    fn every_gpu_is_found_and_nothing_else() {
        let dev = folder("gpus");
        let link = |name: &str, target: &str| symlink(target, dev.join(name)).unwrap();
        link("nvidiactl", "/dev/null");
        link("nvidia-uvm", "/dev/null");
        assert!(nodes(Device::Nvidia, &dev).unwrap_err().contains("/dev/nvidia0"));
        for name in ["nvidia0", "nvidia3", "nvidia-modeset", "nvidia32", "kvm"] {
            link(name, "/dev/zero");
        }
        let expected = [("nvidiactl", 3), ("nvidia-uvm", 3), ("nvidia0", 5), ("nvidia3", 5)];
        let expected = expected.map(|(name, minor)| fake(&format!("/dev/{name}"), 1, minor));
        assert_eq!(nodes(Device::Nvidia, &dev).unwrap(), expected);
        assert_eq!(nodes(Device::Kvm, &dev).unwrap(), [fake("/dev/kvm", 1, 5)]);
        fs::remove_dir_all(dev).unwrap();
    }
}
