//! Who is at the other end of a Unix socket.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The *connector* of a socket, as the kernel noted it when it connected.
///
/// A passed descriptor keeps naming whoever dialled: with the client that is the console, whichever half speaks.
/// No name service is asked; numbers are all there is.
#[derive(Debug)]
pub struct Peer {
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The supplementary group ids.
    pub groups: Vec<u32>,
    /// The process, for telling whether it still lives; `None` where the kernel could not give one.
    pub process: Option<OwnedFd>,
}

impl Peer {
    /// Reads the kernel's notes (`SO_PEERCRED`, `SO_PEERGROUPS`, `SO_PEERPIDFD`).
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(socket)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
            groups: crate::sys::peer_groups(socket.as_fd())?,
            process: nix::sys::socket::getsockopt(&socket.as_fd(), nix::sys::socket::sockopt::PeerPidfd).ok(),
        })
    }

    /// Every group, primary first.
    pub fn all_groups(&self) -> Vec<u32> {
        std::iter::once(self.gid).chain(self.groups.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_names_this_very_process() {
        let (a, _b) = crate::stream_pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getgid().as_raw());
    }
}
