//! What a workload keeps of the sandbox's own files, where the kernel inside has Landlock. gVisor's of 2024-07 has none.
//!
//! The sandbox is the boundary and this is a second line: should a mount be writable or a file readable that ought not to be, a
//! workload still cannot write outside of its two folders, make a device, or reach another workload's processes.
#![forbid(unsafe_code)]

use closedpaw_confine::domain::{AccessFs, Place, all_but_devices, prepared};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Makes the domain, which each workload enters before it is started. Nothing where the kernel cannot.
pub(super) fn prepare() -> Option<BorrowedFd<'static>> {
    let domain = prepared(&places())?;
    // It is needed for as long as there is init.
    let domain: &'static OwnedFd = Box::leak(Box::new(domain));
    Some(domain.as_fd())
}

fn places() -> Vec<Place> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let place = |path: &str, access| (PathBuf::from(path), access);
    let mut places = vec![
        place("/", AccessFs::ReadDir.into()),
        place("/usr", read | AccessFs::Execute),
        place("/closedpaw", read | AccessFs::Execute),
        place("/etc", read),
        place("/proc", read),
        place("/sys", read),
        place("/dev", device),
        place("/dev/shm", all_but_devices()),
        place("/tmp", all_but_devices()),
        place("/workspace", all_but_devices()),
    ];
    // An image has folders of its own making, which are as read-only as `/usr` is.
    let names = fs::read_dir("/").into_iter().flatten().flatten().map(|entry| entry.path());
    let more: Vec<_> = names.filter(|name| places.iter().all(|(known, _)| known != name)).collect();
    // What is no folder cannot be listed, and no rule may say so.
    let files = |name: &PathBuf| if name.is_dir() { read } else { AccessFs::ReadFile.into() };
    places.extend(more.into_iter().map(|name| {
        let access = files(&name) | AccessFs::Execute;
        (name, access)
    }));
    places
}
