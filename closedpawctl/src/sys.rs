//! The client's only `unsafe`: descriptors by number, between the two processes of the client.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Gives the child `descriptors` as numbers 3, 4, …, and makes it die with this process.
#[allow(unsafe_code)]
pub(crate) fn hand_over(command: &mut Command, descriptors: Vec<OwnedFd>) {
    let place = move || -> io::Result<()> {
        let mut away = [-1; 4];
        for (slot, descriptor) in away.iter_mut().zip(&descriptors) {
            // SAFETY: plain system call on an open descriptor; no memory is touched.
            *slot = check(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) })?;
        }
        for (number, descriptor) in (3..).zip(away.iter().take(descriptors.len())) {
            // SAFETY: as above; in the child the target numbers belong to nobody who still runs.
            check(unsafe { libc::dup2(*descriptor, number) })?;
        }
        // Whatever else this process was started with is not for the child.
        let first = 3 + libc::c_uint::try_from(descriptors.len()).unwrap_or(0);
        // SAFETY: sets a flag on descriptors by number; no memory is touched.
        check(unsafe { libc::close_range(first, libc::c_uint::MAX, CLOEXEC) })?;
        // SAFETY: plain system call.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(place) };
}

/// Takes over descriptor `number`. Called once for each, first thing in the agent.
#[allow(unsafe_code)]
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number touches no memory; it fails if the number is not open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and nothing else in this process owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// `CLOSE_RANGE_CLOEXEC` in the type that close_range(2) takes.
const CLOEXEC: libc::c_int = libc::CLOSE_RANGE_CLOEXEC.cast_signed();

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
