//! Descriptors that came with this process: the one thing that cannot be said without `unsafe`.

#![allow(unsafe_code)] // each block says why it holds

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Closes whatever the process was started with beyond stdin, stdout and stderr, but for `keep`.
///
/// Call it first in `main`: it closes by number, and must not meet a descriptor of our own.
///
/// # Errors
/// What `close_range(2)` says.
pub fn close_inherited(keep: Option<RawFd>) -> io::Result<()> {
    let first = libc::STDERR_FILENO.unsigned_abs() + 1;
    match keep.map(RawFd::unsigned_abs) {
        Some(keep) if keep >= first => {
            if keep > first {
                close_range(first, keep - 1)?;
            }
            close_range(keep + 1, u32::MAX)
        }
        Some(_) | None => close_range(first, u32::MAX),
    }
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: nothing in this process owns a descriptor beyond stderr yet, as the caller promises,
    // so no owner can be left with a closed one.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a descriptor that whoever started this process left open for it.
///
/// # Errors
/// There is none with that number, or it is one of the standard three.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl with F_SETFD takes an integer and touches no memory; a bad number is an error.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (just seen) and was inherited, so that nothing here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
