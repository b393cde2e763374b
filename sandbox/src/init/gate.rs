//! The start gate: what this sandbox looks like from inside, found before any work.
//!
//! It catches a runtime that is misconfigured or isolates nothing. It cannot catch a hostile one that lies to the
//! probes; that is what pinning the runtime's digest is for.
#![forbid(unsafe_code)]

use super::sys;
use closedpaw_protocol::relay::Gate;
use std::cell::Cell;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

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
    domain: Option<BorrowedFd<'static>>,
}

impl Findings {
    /// Before there was any work.
    pub(super) fn at_start(domain: Option<BorrowedFd<'static>>) -> Self {
        Self { start: probe(domain), asked: Cell::default(), domain }
    }

    /// For a relay that asks. A second one asks in a sandbox that was saved and restored: by then it may run in other
    /// surroundings, so it looks again, but for the processes, which are its own.
    pub(super) fn now(&self) -> Gate {
        if !self.asked.replace(true) {
            return self.start;
        }
        Gate(probe(self.domain).0 & !Gate::ALONE | self.start.0 & Gate::ALONE)
    }
}

/// Everything that was found good. With the domain that workloads are put into, where there is one.
pub(super) fn probe(domain: Option<BorrowedFd<'static>>) -> Gate {
    let findings = [
        (Gate::GVISOR, sys::kernel_is_gvisor()),
        (Gate::IDS, hosts_root_is_nobody()),
        (Gate::NO_NETWORK, only_loopback()),
        (Gate::ROOT_READ_ONLY, root_is_read_only()),
        (Gate::MOUNTS, only_known_mounts()),
        (Gate::ALONE, alone()),
        (Gate::CAPABILITIES, few_capabilities()),
        (Gate::SECCOMP, sys::forbidden_calls_fail()),
        (Gate::DEVICES, no_devices()),
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

fn only_known_mounts() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return false };
    // What the host has mounted below `/usr` is there as `/usr` is; a unit's hidden folders are, too.
    let known = |place: &str| PLACES.contains(&place) || place.starts_with("/usr/");
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

fn no_devices() -> bool {
    let Ok(entries) = fs::read_dir("/dev") else { return false };
    entries.flatten().all(|entry| {
        let harmless = !matches!(entry.file_name().to_str(), Some("mem" | "kmem" | "port" | "kvm") | None);
        harmless && entry.file_type().is_ok_and(|kind| !kind.is_block_device())
    })
}

/// Whether a thread in the domain can do less than one outside: write its own name, which is no harm.
fn holds(domain: BorrowedFd<'static>) -> bool {
    let named = || fs::OpenOptions::new().write(true).open("/proc/self/comm").is_ok();
    let inside = move || sys::enter(domain).is_ok() && !named();
    named() && std::thread::spawn(inside).join().unwrap_or(false)
}
