//! The processes that a shim's program leaves behind: this process is their parent while it starts one, and knows them again
//! when it ends one.
#![forbid(unsafe_code)]

use crate::error::ShimError;
use crate::program::Limit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Between two looks at whether killed processes have ended.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes this process the parent of what its children leave behind (PR_SET_CHILD_SUBREAPER(2const)).
pub(crate) fn adopt() -> Result<(), ShimError> {
    nix::sys::prctl::set_child_subreaper(true).map_err(ShimError::here("PR_SET_CHILD_SUBREAPER"))
}

/// Writes down which processes these are: a number and when it began, so that another one of the same number is not taken for it.
pub(crate) fn note(file: &Path) -> Result<(), ShimError> {
    let lines = children().into_iter().filter_map(|child| Some(format!("{child} {}\n", began(child)?)));
    let lines: String = lines.collect();
    if lines.is_empty() {
        return Err(ShimError::Gone { what: "start", why: "it left no process behind".to_owned() });
    }
    fs::write(file, lines).map_err(ShimError::here("which process the shim is"))
}

/// Those of a note that still run.
pub(crate) fn noted(file: &Path) -> Vec<OwnedFd> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let known = |line: &str| {
        let (process, since) = line.split_once(' ')?;
        let process = process.parse().ok()?;
        // Opened before it is compared: what is compared is what is held.
        let held = pidfd_open(rustix::process::Pid::from_raw(process)?, PidfdFlags::empty()).ok()?;
        (began(process)? == since).then_some(held)
    };
    text.lines().filter_map(known).collect()
}

/// Whether a process has ended, or does so in time.
pub(crate) fn ends(process: &OwnedFd, patience: Duration) -> bool {
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) != Ok(0)
}

/// Ends processes that do not end by themselves in time.
pub(crate) fn end(processes: &[OwnedFd], patience: &Limit) {
    for process in processes {
        if !ends(process, patience.left()) {
            // It may do so just now.
            let _ = pidfd_send_signal(process, rustix::process::Signal::KILL);
            ends(process, Duration::from_secs(1));
        }
    }
}

/// Ends everything that was left behind to this process, and what that leaves behind.
pub(crate) fn end_children(limit: &Limit) -> bool {
    while !children().is_empty() {
        for child in children() {
            // One that has ended is waited for below.
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            let _ = waitpid(Pid::from_raw(child), Some(WaitPidFlag::WNOHANG));
        }
        if limit.left().is_zero() {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// The children of all threads (proc_pid_task_children(5)).
fn children() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// When a process began, in the kernel's ticks: the 22nd field of proc_pid_stat(5), the name before it in parentheses.
fn began(process: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19).map(str::to_owned)
}

/// A process by descriptor, if it is there.
pub(crate) fn hold(process: u32) -> io::Result<OwnedFd> {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    Ok(pidfd_open(process.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_noted_process_is_known_again_and_another_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("note");
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        note(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{} ", child.id()))).unwrap();
        fs::write(&file, format!("{line}\n")).unwrap();
        assert_eq!(noted(&file).len(), 1);
        fs::write(&file, format!("{line}1\n{} {line}\n0 0\nx\n", child.id())).unwrap();
        assert!(noted(&file).is_empty());
        fs::write(&file, line).unwrap();
        end(&noted(&file), &Limit::of(Duration::ZERO));
        assert!(!child.wait().unwrap().success());
        assert!(noted(&file).is_empty());
    }
}
