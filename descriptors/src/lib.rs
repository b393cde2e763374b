//! Unix sockets with descriptors on them: frames, sealed inputs, peer credentials; and handing descriptors to a child.
//!
//! The one place where the daemon, the relay and the client touch `SCM_RIGHTS`. Received descriptors are owned from
//! the first instruction, so none can leak, and a message with more of them than allowed is an error.
#![deny(unsafe_code)]

pub mod frames;
pub mod handover;
pub mod peer;
pub mod sealed;
mod sys;

pub use frames::{Frame, FrameReader, FrameWriter, Packets};
pub use peer::Peer;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// Two connected stream sockets that no `exec` inherits.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

/// Two connected sockets that keep message boundaries, for fixed-size records.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}
