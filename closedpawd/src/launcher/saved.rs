//! What was saved of a sandbox: the runtime's image of its memory and processes, in a bounded memory filesystem of its own.
//!
//! It holds whatever the sandbox held, so it is on no disk, nobody but root can open it, and it goes with the session.
#![forbid(unsafe_code)]

use crate::verbs::Saved;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The most that is kept of one session, whatever its profile says: it is memory.
const MOST: u64 = 8 << 30;

/// The same where a profile sets the sandbox no limit.
const USUAL: u64 = 1 << 30;

/// Where in a sandbox's folder.
fn folder(sandbox: &Path) -> PathBuf {
    sandbox.join("saved")
}

/// The folder for one state.
pub(super) fn place(sandbox: &Path, saved: Saved) -> PathBuf {
    folder(sandbox).join(match saved {
        Saved::First => "first",
        Saved::Second => "second",
    })
}

/// Makes room for as much as the sandbox may have of memory. What is in it counts as the sandbox's own (cgroup v2).
pub(super) fn make_room(sandbox: &Path, memory: u64, label: &str) -> io::Result<()> {
    let folder = folder(sandbox);
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let bytes = if memory == 0 { USUAL } else { memory.min(MOST) };
    let options = format!("size={bytes},nr_inodes=64,mode=0700{label}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("closedpaw-saved"), &folder, Some("tmpfs"), flags, Some(options.as_str()))?)
}

/// Lets go of what is there.
pub(super) fn let_go(sandbox: &Path) {
    // Nothing is mounted there in a sandbox that has none, or that an earlier launcher started.
    let _ = umount2(&folder(sandbox), MntFlags::MNT_DETACH);
}

/// An empty folder in the place of what was there.
pub(super) fn begin(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir(place)
}
