//! The launcher's only `unsafe`: what a child does between fork and exec, and how a thread is scheduled.

use nix::sys::signal::SigSet;
use std::io;
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

/// Runs `calls` in the child between fork and exec.
#[allow(unsafe_code)]
pub(super) fn in_child(command: &mut Command, calls: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: `calls` may allocate, which is sound between fork and exec because the launcher has one thread, so no
    // lock can be held by another.
    unsafe { command.pre_exec(calls) };
}
