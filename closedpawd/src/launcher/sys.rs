//! The launcher's only `unsafe`: placing descriptors in a child between fork and exec, and owning inherited ones.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Owns a descriptor that was handed over by number.
#[allow(unsafe_code)]
pub(super) fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the caller got the number from an API that gave up ownership of it (`IntoRawFd`).
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Gives the child `descriptors` as numbers 3, 4, 5…, open over exec, and makes it die with this process if asked.
#[allow(unsafe_code)]
pub(super) fn hand_over(command: &mut Command, descriptors: Vec<OwnedFd>, die_with_parent: bool) {
    let place = move || -> io::Result<()> {
        // First all of them out of the way of the numbers to come, then into place.
        let mut away = [-1; 8];
        for (slot, descriptor) in away.iter_mut().zip(&descriptors) {
            // SAFETY: plain syscall on an open descriptor; no memory is touched.
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
        hear_everything()?;
        if die_with_parent {
            // SAFETY: plain syscall.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only: no allocation, no lock. The launcher has one thread.
    unsafe { command.pre_exec(place) };
}

/// `CLOSE_RANGE_CLOEXEC` in the type that close_range(2) takes.
const CLOEXEC: libc::c_int = libc::CLOSE_RANGE_CLOEXEC.cast_signed();

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Lets the child have none of this process's descriptors beyond the three of every program.
#[allow(unsafe_code)]
pub(super) fn hand_over_nothing(command: &mut Command) {
    let drop_all = || {
        // SAFETY: sets a flag on descriptors by number; no memory is touched.
        check(unsafe { libc::close_range(3, libc::c_uint::MAX, CLOEXEC) })?;
        hear_everything()
    };
    // SAFETY: the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(drop_all) };
}

/// The launcher reads its signals from a descriptor and so blocks them; a child gets them as usual.
#[allow(unsafe_code)]
fn hear_everything() -> io::Result<()> {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set it is given; sigprocmask only reads it.
    check(unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    })
    .map(drop)
}

/// Runs `domain` in the child between fork and exec.
#[allow(unsafe_code)]
pub(super) fn in_child(command: &mut Command, domain: fn() -> io::Result<()>) {
    // SAFETY: `domain` allocates, which is sound between fork and exec because the launcher has one thread, so no
    // lock can be held by another.
    unsafe { command.pre_exec(domain) };
}
