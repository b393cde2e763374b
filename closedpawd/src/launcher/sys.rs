//! The launcher's only `unsafe`: what a child does between fork and exec, how a thread is scheduled, whose mounts are where.

use nix::sys::signal::SigSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child hear all signals: the launcher reads its own from a descriptor and so blocks them.
pub(super) fn hear_everything(command: &mut Command) {
    in_child(command, || Ok(SigSet::empty().thread_set_mask()?));
}

/// Puts a thread under `SCHED_BATCH` (sched(7)).
///
/// # Errors
/// `ESRCH` if it has ended; `EPERM` where a rule of the host's forbids it.
#[allow(unsafe_code)]
pub(super) fn make_batch(thread: libc::pid_t) -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the structure that it is given, which lives until after it, and touches no other memory.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_BATCH, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The mount table of a process (`PIDFD_GET_MNT_NAMESPACE`, Linux 6.11), which takes `CAP_SYS_PTRACE`.
///
/// # Errors
/// `ESRCH` if it has ended.
#[allow(unsafe_code)]
pub(super) fn mounts_of(process: &OwnedFd) -> io::Result<OwnedFd> {
    const PIDFD_GET_MNT_NAMESPACE: libc::Ioctl = 0xff03;
    // SAFETY: the call takes no memory of ours.
    let table = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_MNT_NAMESPACE, 0) };
    if table < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor just now, close-on-exec, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(table) })
}

/// Runs `calls` in the child between fork and exec.
#[allow(unsafe_code)]
pub(super) fn in_child(command: &mut Command, calls: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: `calls` may allocate, which is sound between fork and exec because the launcher has one thread, so no
    // lock can be held by another.
    unsafe { command.pre_exec(calls) };
}
