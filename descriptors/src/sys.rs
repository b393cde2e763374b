//! The only `unsafe` of this crate: a socket option that the wrappers do not know, and handing a descriptor to tokio.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
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
