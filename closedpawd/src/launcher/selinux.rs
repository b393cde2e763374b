//! SELinux: a sandbox's runtime and its relay run in domains of their own, with two categories that no other sandbox has.
//!
//! The kernel gives a process its domain when it executes a program, as it said beforehand in `attr/exec`
//! (setexeccon(3)); the runtime itself knows nothing of that.
#![forbid(unsafe_code)]

use super::sys;
use rustix::fs::{XattrFlags, setxattr};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

/// The launcher's own domain in ClosedPaw's policy module.
const OWN: &str = "closedpawd_t";

/// Two for each of the sandboxes that there may be at a time: all that a policy has.
const CATEGORIES: u32 = 1024;

/// This daemon's user and role, where SELinux is on and ClosedPaw's policy has put the daemon into its domain.
#[derive(Debug, Clone)]
pub(super) struct SeLinux {
    user: String,
    role: String,
}

impl SeLinux {
    /// `None` where there is no such policy: everything works, with a layer less.
    pub(super) fn find() -> Option<Self> {
        let context = fs::read_to_string("/proc/thread-self/attr/current").ok()?;
        Self::of(context.trim_end_matches(['\0', '\n']))
    }

    fn of(context: &str) -> Option<Self> {
        let mut parts = context.splitn(4, ':');
        let (user, role, domain) = (parts.next()?, parts.next()?, parts.next()?);
        // A policy without levels has no categories either.
        let levels = parts.next().is_some();
        (domain == OWN && levels).then(|| Self { user: user.to_owned(), role: role.to_owned() })
    }

    /// Has a command become the runtime of a sandbox; or, without one, that which tidies up after all of them.
    pub(super) fn runtime(&self, command: &mut Command, slot: Option<u32>) {
        let range = slot.map_or_else(|| format!("s0-s0:c0.c{}", CATEGORIES - 1), level);
        become_one(command, self.context("closedpaw_runtime_t", &range));
    }

    /// Has a command become what makes a sandbox of namespaces.
    pub(super) fn process(&self, command: &mut Command, slot: u32) {
        become_one(command, self.context("closedpaw_process_t", &level(slot)));
    }

    /// Has a command become a sandbox's relay.
    pub(super) fn relay(&self, command: &mut Command, slot: u32) {
        become_one(command, self.context("closedpaw_relay_t", &level(slot)));
    }

    /// Makes a folder a sandbox's own.
    pub(super) fn claim(&self, folder: &Path, slot: u32) -> io::Result<()> {
        let label = format!("{}\0", self.file(slot));
        Ok(setxattr(folder, "security.selinux", label.as_bytes(), XattrFlags::empty())?)
    }

    /// The option that makes all files of a mount a sandbox's own (mount(8)).
    pub(super) fn mount_option(&self, slot: u32) -> String {
        format!(",context=\"{}\"", self.file(slot))
    }

    /// The same for what all sandboxes may read: a root filesystem.
    pub(super) fn shared_option(&self) -> String {
        format!(",context=\"{}:object_r:closedpaw_rootfs_t:s0\"", self.user)
    }

    fn file(&self, slot: u32) -> String {
        format!("{}:object_r:closedpaw_layer_t:{}", self.user, level(slot))
    }

    fn context(&self, domain: &str, range: &str) -> String {
        format!("{}:{}:{domain}:{range}", self.user, self.role)
    }
}

/// The categories of a slot. No two slots share one.
fn level(slot: u32) -> String {
    let first = slot * 2 % CATEGORIES;
    format!("s0:c{first},c{}", first + 1)
}

fn become_one(command: &mut Command, context: String) {
    sys::in_child(command, move || {
        let mut attribute = OpenOptions::new().write(true).open("/proc/thread-self/attr/exec")?;
        attribute.write_all(context.as_bytes())
    });
}

#[cfg(test)]
mod tests {
    use super::super::sandbox::MOST;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_sandboxes_share_a_category() {
        let mut seen = BTreeSet::new();
        for slot in (0u32..).take(MOST) {
            let level = level(slot);
            for category in level.strip_prefix("s0:").unwrap().split(',') {
                let number: u32 = category.strip_prefix('c').unwrap().parse().unwrap();
                assert!(number < CATEGORIES, "{level}");
                assert!(seen.insert(number), "{level}");
            }
        }
    }

    #[test]
    fn only_the_daemons_own_domain_counts() {
        assert!(SeLinux::of("system_u:system_r:closedpawd_t:s0").is_some());
        assert!(SeLinux::of("system_u:system_r:closedpawd_t:s0-s0:c0.c1023").is_some());
        for other in [
            "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
            "system_u:system_r:unconfined_service_t:s0-s0:c0.c1023",
            "system_u:system_r:closedpawd_t",
            "closedpawd (enforce)",
            "",
        ] {
            assert!(SeLinux::of(other).is_none(), "{other}");
        }
    }
}
