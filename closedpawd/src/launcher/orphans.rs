//! Processes that the runtime starts and leaves behind: the launcher is their parent then, and waits for them.
//!
//! The runtime's `delete` waits until a sandbox's processes are gone from the process table. Left to process 1, that
//! takes as long as it takes that one to look; some look every two seconds.
#![forbid(unsafe_code)]

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io;

/// Makes this process the parent of what its children leave behind (PR_SET_CHILD_SUBREAPER(2const)).
pub(super) fn adopt() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Waits for every ended child but those somebody here waits for by name.
pub(super) fn reap(known: &[u32]) {
    // The launcher has one thread, so these are all of them (proc_pid_task_children(5)).
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else { return };
    for child in children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()) {
        if !known.contains(&child)
            && let Ok(child) = i32::try_from(child)
        {
            // One that still runs is looked at again when it has ended.
            let _ = waitpid(Pid::from_raw(child), Some(WaitPidFlag::WNOHANG));
        }
    }
}
