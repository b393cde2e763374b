//! The start gate: what this sandbox looks like from inside, found before any work.
//!
//! It catches a runtime that is misconfigured or isolates nothing. It cannot catch a hostile one that lies to the
//! probes; that is what pinning the runtime's digest is for.
#![forbid(unsafe_code)]

use super::sys;
use closedpaw_protocol::relay::Gate;
use closedpaw_protocol::{Device, Devices};
use std::cell::Cell;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Capabilities init needs: to become the caller, and to signal what it started (capabilities(7)).
const NEEDED: u64 = 1 << 5 | 1 << 6 | 1 << 7;

/// Where something may be mounted. The runtime brings the pseudo filesystems, each empty of the host; where the kernel is the
/// host's, the devices are, too.
const PLACES: &[&str] = &[
    "/",
    "/proc",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/sys",
    "/tmp",
    "/usr",
    "/workspace",
    "/closedpaw",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// What the gate found.
pub(super) struct Findings {
    start: Gate,
    asked: Cell<bool>,
    devices: Devices,
    domain: Option<BorrowedFd<'static>>,
}

impl Findings {
    /// Before there was any work.
    pub(super) fn at_start(devices: Devices, domain: Option<BorrowedFd<'static>>) -> Self {
        Self { start: probe(devices, domain), asked: Cell::default(), devices, domain }
    }

    /// For a relay that asks. A second one asks in a sandbox that was saved and restored: by then it may run in other
    /// surroundings, so it looks again, but for the processes, which are its own.
    pub(super) fn now(&self) -> Gate {
        if !self.asked.replace(true) {
            return self.start;
        }
        Gate(probe(self.devices, self.domain).0 & !Gate::ALONE | self.start.0 & Gate::ALONE)
    }
}

/// Everything that was found good. With the devices that the profile names, and the domain that workloads are put into, where there is one.
pub(super) fn probe(devices: Devices, domain: Option<BorrowedFd<'static>>) -> Gate {
    let findings = [
        (Gate::GVISOR, sys::kernel_is_gvisor()),
        (Gate::IDS, hosts_root_is_nobody()),
        (Gate::NO_NETWORK, only_loopback()),
        (Gate::ROOT_READ_ONLY, root_is_read_only()),
        (Gate::MOUNTS, only_known_mounts(devices)),
        (Gate::ALONE, alone()),
        (Gate::CAPABILITIES, few_capabilities()),
        (Gate::SECCOMP, sys::forbidden_calls_fail()),
        (Gate::DEVICES, only_named(devices, Path::new("/dev"))),
        (Gate::LANDLOCK, domain.is_some_and(holds)),
    ];
    Gate(findings.into_iter().filter(|(_, good)| *good).fold(0, |bits, (bit, _)| bits | bit))
}

/// The host's root owns `/usr`; an id map without it shows the overflow id (user_namespaces(7)).
fn hosts_root_is_nobody() -> bool {
    fs::metadata("/usr").is_ok_and(|usr| usr.uid() == 65534 && usr.gid() == 65534)
}

fn only_loopback() -> bool {
    let Ok(devices) = fs::read_to_string("/proc/self/net/dev") else { return false };
    devices.lines().skip(2).filter_map(|line| line.split_once(':')).all(|(name, _)| name.trim() == "lo")
}

fn root_is_read_only() -> bool {
    ["/closedpaw-probe", "/usr/closedpaw-probe", "/etc/closedpaw-probe", "/closedpaw/probe"].into_iter().all(
        |path| {
            let refused = fs::File::create_new(path).is_err();
            if !refused {
                drop(fs::remove_file(path));
            }
            refused
        },
    )
}

fn only_known_mounts(devices: Devices) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return false };
    // What the host has mounted below `/usr` is there as `/usr` is; a unit's hidden folders are, too.
    let named = |place: &str| devices.iter().any(|device| device.name() == place);
    let known = |place: &str| PLACES.contains(&place) || place.starts_with("/usr/") || named(place);
    mounts.lines().all(|line| line.split(' ').nth(1).is_some_and(known))
}

fn alone() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let mut processes = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    std::process::id() == 1 && processes.all(|process| process == 1)
}

fn few_capabilities() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return false };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let within = |name| {
        field(name).and_then(|set| u64::from_str_radix(set, 16).ok()).is_some_and(|set| set & !NEEDED == 0)
    };
    within("CapPrm:") && within("CapEff:") && within("CapBnd:")
}

/// No block device, none that leads to the machine's memory or to its hardware; but those that were named, and these in truth.
fn only_named(devices: Devices, dev: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dev) else { return false };
    let fits = entries.flatten().all(|entry| {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return false };
        let harmless = match owner(name) {
            Some(device) => devices.contains(device),
            None => !HARDWARE.iter().any(|hardware| name.starts_with(hardware)),
        };
        harmless && entry.file_type().is_ok_and(|kind| !kind.is_block_device())
    });
    fits && devices.iter().all(|device| driven(device, dev))
}

/// What is never harmless, by how its name begins.
const HARDWARE: [&str; 8] = ["mem", "kmem", "port", "vfio", "dri", "accel", "vhost", "iommu"];

/// The device that a name in `/dev` is a part of.
fn owner(name: &str) -> Option<Device> {
    match name {
        "kvm" => Some(Device::Kvm),
        name if name.starts_with("nvidia") => Some(Device::Nvidia),
        _ => None,
    }
}

/// Whether there is a driver behind its name. That this process may not open it says nothing of the person.
fn driven(device: Device, dev: &Path) -> bool {
    let name = match device {
        Device::Kvm => "kvm",
        Device::Nvidia => "nvidiactl",
    };
    let nothing_there = [libc::ENOENT, libc::ENXIO, libc::ENODEV, libc::EPERM];
    match fs::OpenOptions::new().read(true).write(true).open(dev.join(name)) {
        Ok(opened) => opened.metadata().is_ok_and(|found| found.file_type().is_char_device()),
        Err(error) => !error.raw_os_error().is_some_and(|code| nothing_there.contains(&code)),
    }
}

/// Whether a thread in the domain can do less than one outside: write its own name, which is no harm.
fn holds(domain: BorrowedFd<'static>) -> bool {
    let named = || fs::OpenOptions::new().write(true).open("/proc/self/comm").is_ok();
    let inside = move || sys::enter(domain).is_ok() && !named();
    named() && std::thread::spawn(inside).join().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Whether the gate holds over a `/dev` with these names, each the kernel's `null`, for a profile that names these devices.
    fn holds_over(names: &[&str], devices: &[Device]) -> bool {
        let dev = folder();
        for name in names {
            symlink("/dev/null", dev.join(name)).unwrap();
        }
        let holds = only_named(devices.iter().copied().collect(), &dev);
        fs::remove_dir_all(dev).unwrap();
        holds
    }

    fn folder() -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("closedpaw-gate-{}-{next}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_device_is_there_exactly_if_it_was_named() {
        let usual =
            ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "fuse", "net"];
        assert!(holds_over(&usual, &[]));
        let with = |more: &[&'static str]| [&usual[..], more].concat();
        for (names, device) in
            [(with(&["kvm"]), Device::Kvm), (with(&["nvidiactl", "nvidia-uvm", "nvidia0"]), Device::Nvidia)]
        {
            assert!(holds_over(&names, &[device]), "{names:?}");
            assert!(!holds_over(&names, &[]), "{names:?}");
            assert!(!holds_over(&usual, &[device]), "{device:?} was named and is not there");
            let other = Device::ALL.into_iter().find(|other| *other != device).unwrap();
            assert!(!holds_over(&names, &[other]), "{names:?}");
        }
        for name in ["mem", "kmem", "port", "vfio", "dri", "accel0", "vhost-vsock", "iommu"] {
            assert!(!holds_over(&with(&[name]), &Device::ALL[..0]), "{name}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_a_named_device_is_none() {
        let dev = folder();
        fs::write(dev.join("kvm"), "").unwrap();
        assert!(!only_named([Device::Kvm].into_iter().collect(), &dev));
        fs::remove_dir_all(dev).unwrap();
    }
}
