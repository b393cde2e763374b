//! The only `unsafe` of this crate: a socket option that the wrappers do not know, handing a descriptor to tokio, and
//! descriptors by number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most groups a peer is asked for; NGROUPS_MAX of limits.h.
const MAX_GROUPS: usize = 65536;

/// The supplementary groups of whoever connected, as they were then (`SO_PEERGROUPS`, socket(7)).
#[allow(unsafe_code)]
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut bytes =
            libc::socklen_t::try_from(groups.len() * size_of::<libc::gid_t>()).map_err(io::Error::other)?;
        // SAFETY: the buffer is owned, initialised and as long as `bytes` says; the kernel writes at most that many
        // and stores the real size in `bytes`, which outlives the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let wanted = usize::try_from(bytes).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(wanted);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || wanted <= groups.len() || wanted > MAX_GROUPS {
            return Err(error);
        }
        groups.resize(wanted, 0);
    }
}

/// Registers a socket with the runtime of the calling task.
#[allow(unsafe_code)]
pub(crate) fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped and always names the same file, and the `AsyncFd` owns it and
    // takes it out of the reactor before dropping it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE | Interest::WRITABLE) }
        .map_err(Into::into)
}

/// Runs `calls` in the child between fork and exec. They must be system calls only: no allocation, no lock.
#[allow(unsafe_code)]
pub(crate) fn before_exec(
    command: &mut Command,
    calls: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: only `handover` calls this, with closures that neither allocate nor take a lock.
    unsafe { command.pre_exec(calls) };
}

/// Gives what `descriptor` is open on this number too, which exec keeps. For a child that is about to exec.
#[allow(unsafe_code)]
pub(crate) fn place(descriptor: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor; in the child the number belongs to nobody who still runs.
    check(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })
}

/// Lets exec close this descriptor and all with higher numbers.
#[allow(unsafe_code)]
pub(crate) fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: sets a flag on descriptors by number; no memory is touched.
    check(unsafe { libc::close_range(first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) })
}

/// Owns a descriptor that came with this process, or that its owner gave up by number, if it is open.
#[allow(unsafe_code)]
pub(crate) fn own(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number touches no memory; it fails if the number is not open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and whoever calls `handover::take_over` knows that nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
