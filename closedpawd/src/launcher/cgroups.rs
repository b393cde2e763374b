//! Which limits this host can give: cgroup v2 controllers, or nothing. And where in the tree the sandboxes are.
#![forbid(unsafe_code)]

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use rustix::process::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The limits that need a controller, by the names policy uses.
pub const LIMITS: [&str; 4] = ["cpu", "io", "memory", "pids"];

const MOUNT: &str = "/sys/fs/cgroup";

/// The cgroup of `closedpaw-sandboxes.service`, which systemd leaves to the daemon to divide.
const DELEGATED: &str =
    "/sys/fs/cgroup/closedpaw.slice/closedpaw-sandboxes.slice/closedpaw-sandboxes.service";

/// The limits that can be given here, sorted.
pub fn available() -> Vec<&'static str> {
    let unified = statfs(MOUNT).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    LIMITS
        .into_iter()
        .filter(|limit| unified && controllers.split_whitespace().any(|found| found == *limit))
        .collect()
}

/// Where systemd has left a cgroup to the daemon: makes it the only one that this process and its children see.
///
/// The runtime enables controllers in every folder from the top down to a sandbox's. In systemd's own folders that is
/// systemd's to do (<https://systemd.io/CGROUP_DELEGATION/>).
pub(super) fn narrow() -> io::Result<()> {
    if is_delegated(Path::new(DELEGATED)) {
        mount(Some(DELEGATED), MOUNT, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        tracing::info!("launcher: sees no cgroups but those under {DELEGATED}");
    }
    Ok(())
}

/// The cgroup of a sandbox, as the runtime wants it named: from the top of what it sees.
pub(super) fn path(sandbox: &Path) -> PathBuf {
    let name = sandbox.file_name().unwrap_or_default();
    if is_delegated(Path::new(MOUNT)) {
        Path::new("/").join(name)
    } else {
        Path::new("/closedpaw").join(name)
    }
}

/// Puts a relay into a cgroup of its own beside the sandboxes': not into its sandbox's, where it would share its limits, and
/// not into the daemon's, whose processes end with it.
pub(super) fn take_in_relay(sandbox: &Path, relay: Pid) -> io::Result<()> {
    if is_delegated(Path::new(MOUNT)) {
        let cgroup = relays(sandbox);
        fs::create_dir_all(&cgroup)?;
        fs::write(cgroup.join("cgroup.procs"), relay.as_raw_nonzero().to_string())?;
    }
    Ok(())
}

/// Ends every process of a sandbox and its relay, by the kernel's own means (cgroup.kill, cgroups(7)). Where there is no cgroup
/// of theirs there is nothing to do.
pub(super) fn kill(sandbox: &Path) {
    if is_delegated(Path::new(MOUNT)) {
        let inside = Path::new(MOUNT).join(sandbox.file_name().unwrap_or_default());
        for cgroup in [inside, relays(sandbox)] {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        remove_relays(sandbox);
    }
}

/// Takes away the cgroup of a relay that has ended; one that ends just now is taken away with the next one's.
pub(super) fn remove_relays(sandbox: &Path) {
    if is_delegated(Path::new(MOUNT)) {
        let _ = fs::remove_dir(relays(sandbox));
    }
}

fn relays(sandbox: &Path) -> PathBuf {
    Path::new(MOUNT).join("relays").join(sandbox.file_name().unwrap_or_default())
}

/// Whether systemd has put its mark on a cgroup that it leaves to others.
fn is_delegated(cgroup: &Path) -> bool {
    let mut mark = [0; 2];
    rustix::fs::getxattr(cgroup, "user.delegate", &mut mark)
        .is_ok_and(|length| mark.get(..length) == Some(b"1"))
}
