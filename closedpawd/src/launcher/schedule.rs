//! How a sandbox is scheduled: it gives way.
//!
//! A thread under `SCHED_BATCH` (sched(7)) never takes a processor from one that is running. So untrusted work waits for
//! the person's own; and the threads of gVisor's kernel and those of its programs no longer interrupt one another at
//! every wake-up, which halves the time of a short command on a machine that has processors to spare. On one that has
//! none, a command waits for its turn; the start is not slowed by that, because this comes after it.
#![forbid(unsafe_code)]

use super::sys;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Makes all threads of a process give way, and those of the processes below it; what they start later inherits it.
///
/// It is a courtesy and no boundary: what cannot be reached is left as it is.
pub(super) fn give_way(process: i32) {
    let mut done = BTreeSet::new();
    // A thread that is not reached yet may start another one: it is over when a look finds none that is new.
    loop {
        let new: Vec<i32> =
            threads_below(process).into_iter().filter(|thread| done.insert(*thread)).collect();
        if new.is_empty() {
            return;
        }
        for thread in new {
            // It may have ended since.
            let _ = sys::make_batch(thread);
        }
    }
}

/// The threads of a process and of those it started, and so on (proc_pid_task(5), proc_tid_children(5)).
fn threads_below(process: i32) -> Vec<i32> {
    let mut threads = Vec::new();
    let mut processes = vec![process];
    while let Some(process) = processes.pop() {
        let folder = format!("/proc/{process}/task");
        for thread in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = thread.file_name();
            threads.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
            let children = fs::read_to_string(Path::new(&folder).join(name).join("children"));
            processes.extend(
                children.iter().flat_map(|list| list.split_ascii_whitespace()).flat_map(str::parse::<i32>),
            );
        }
    }
    threads
}
