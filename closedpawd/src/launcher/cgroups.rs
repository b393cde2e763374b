//! Which limits this host can give: cgroup v2 controllers, or nothing.
#![forbid(unsafe_code)]

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::fs;

/// The limits that need a controller, by the names policy uses.
pub const LIMITS: [&str; 4] = ["cpu", "io", "memory", "pids"];

const MOUNT: &str = "/sys/fs/cgroup";

/// The limits that can be given here, sorted.
pub fn available() -> Vec<&'static str> {
    let unified = statfs(MOUNT).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC);
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    LIMITS
        .into_iter()
        .filter(|limit| unified && controllers.split_whitespace().any(|found| found == *limit))
        .collect()
}
