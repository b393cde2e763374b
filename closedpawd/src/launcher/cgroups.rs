//! Which limits this host can give: cgroup v2 controllers, or nothing. And where in the tree the sandboxes are.
#![forbid(unsafe_code)]

use super::disks::Disk;
use crate::verbs::Limits;
use closedpaw_protocol::SandboxId;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use rustix::process::Pid;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Makes the cgroup of a sandbox whose runtime makes none, with what this host's controllers can keep to. Gives the file by
/// which a process puts itself into it; none where there are no controllers.
pub(super) fn make(sandbox: &Path, limits: Limits, disks: &[Disk]) -> io::Result<Option<PathBuf>> {
    let here = available();
    if here.is_empty() {
        return Ok(None);
    }
    let cgroup = inside(sandbox);
    fs::create_dir_all(&cgroup)?;
    let mut above: Vec<&Path> =
        cgroup.ancestors().skip(1).take_while(|above| above.starts_with(MOUNT)).collect();
    above.reverse();
    for above in above {
        for controller in &here {
            // What could not be enabled is missed below, where it is needed.
            let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    let set = |name: &str, value: String| fs::write(cgroup.join(name), value);
    let Limits { memory, pids, cpu, io, .. } = limits;
    if memory > 0 && here.contains(&"memory") {
        set("memory.max", memory.to_string())?;
        if cgroup.join("memory.swap.max").exists() {
            set("memory.swap.max", "0".to_owned())?;
        }
    }
    if pids > 0 && here.contains(&"pids") {
        set("pids.max", pids.to_string())?;
    }
    if cpu > 0 && here.contains(&"cpu") {
        set("cpu.max", format!("{} 100000", u64::from(cpu) * 100))?;
    }
    if io > 0 && here.contains(&"io") {
        // One disk at a time is what the kernel takes.
        disks.iter().try_for_each(|disk| set("io.max", format!("{disk} rbps={io} wbps={io}")))?;
    }
    Ok(Some(cgroup.join("cgroup.procs")))
}

/// Takes away what [`make`] made, once its processes have ended; of those that were just killed it waits for a moment.
pub(super) fn remove(sandbox: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(inside(sandbox)) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(2));
            }
            // There may never have been one.
            Ok(()) | Err(_) => return,
        }
    }
}

/// What a sandbox's cgroup counts of limits that were reached: `memory.events`, `pids.events`, open to be read. Fewer, or none, where
/// there is no cgroup of its own.
pub fn events(sandbox: SandboxId) -> Vec<File> {
    let name = sandbox.to_string();
    let open =
        |cgroup: &Path| ["memory.events", "pids.events"].map(|events| File::open(cgroup.join(events)).ok());
    // Below the delegated cgroup, or below the one that a daemon without systemd makes.
    let places = [Path::new(MOUNT).join(&name), Path::new(MOUNT).join("closedpaw").join(&name)];
    let found = places.into_iter().find(|cgroup| cgroup.is_dir());
    found.map(|cgroup| open(&cgroup).into_iter().flatten().collect()).unwrap_or_default()
}

fn inside(sandbox: &Path) -> PathBuf {
    let path = path(sandbox);
    Path::new(MOUNT).join(path.strip_prefix("/").unwrap_or(&path))
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
