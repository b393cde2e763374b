//! The judge's inherited descriptors.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Takes over descriptors 3, 4 and 5, which the launcher put there. Called once, first thing.
#[allow(unsafe_code)]
pub(crate) fn inherited() -> io::Result<[OwnedFd; 3]> {
    let take = |number: i32| {
        // SAFETY: fcntl on a number touches no memory; it fails if the number is not open.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and at the start of the judge nothing else in this process owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    Ok([take(3)?, take(4)?, take(5)?])
}
