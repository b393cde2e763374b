//! Finding the daemon, and finding out that it is the daemon.
//!
//! Whoever can put a socket where the client looks could ask the person's questions for the daemon. So the folder
//! must be root's all the way up, the listener must have been root, and the key must be the one in root's file.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use closedpaw_descriptors::Peer;
use closedpaw_protocol::KeyId;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where the socket lies under the daemon's root.
const SOCKET: &str = "run/closedpaw/closedpawd.sock";

/// The daemon's key as root published it.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// The key.
    pub key: KeyId,
}

/// A daemon's place.
#[derive(Debug, Clone)]
pub struct Daemon {
    socket: PathBuf,
    root: PathBuf,
}

impl Daemon {
    /// The daemon behind a socket; its other files lie under the same root.
    pub fn at(socket: &Path) -> Self {
        let root = socket.to_str().and_then(|path| path.strip_suffix(SOCKET)).filter(|root| !root.is_empty());
        Self { socket: socket.to_owned(), root: PathBuf::from(root.unwrap_or("/")) }
    }

    /// `/etc/closedpaw` of this daemon.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/closedpaw")
    }

    /// Where its audit log lies; only the daemon itself can read it there.
    pub fn audit(&self) -> PathBuf {
        self.root.join("var/log/closedpaw/audit")
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The key that root published.
    pub fn pinned(&self) -> Result<Pinned, Failure> {
        let path = self.etc().join("daemon.pub");
        roots_alone(&path)?;
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::unreachable(format!("{}: {error}", path.display())))?;
        let key = text
            .trim()
            .parse()
            .map_err(|error| Failure::unreachable(format!("{}: {error}", path.display())))?;
        Ok(Pinned { key })
    }

    /// Connects, after making sure that only root could have put the socket there.
    pub fn dial(&self) -> Result<OwnedFd, Failure> {
        let unreachable = |error| Failure::unreachable(format!("{}: {error}", self.socket.display()));
        let metadata = fs::symlink_metadata(&self.socket).map_err(unreachable)?;
        if !metadata.file_type().is_socket() {
            return Err(impostor(&self.socket, "is not a socket"));
        }
        roots_alone(&self.socket)?;
        let stream = UnixStream::connect(&self.socket).map_err(unreachable)?;
        let peer = Peer::of(&stream).map_err(unreachable)?;
        if peer.uid != 0 {
            return Err(impostor(&self.socket, "is not served by root"));
        }
        stream.set_nonblocking(true).map_err(unreachable)?;
        Ok(stream.into())
    }
}

/// The file is root's, and every folder above it is root's and writable by nobody else.
fn roots_alone(path: &Path) -> Result<(), Failure> {
    for (depth, place) in path.ancestors().enumerate() {
        let metadata = fs::symlink_metadata(place)
            .map_err(|error| Failure::unreachable(format!("{}: {error}", place.display())))?;
        // The socket itself is written to by those who connect; everything else is root's alone.
        let writable = metadata.mode() & 0o022 != 0 && !metadata.file_type().is_socket();
        let open = writable || (depth > 0 && !metadata.is_dir());
        if metadata.uid() != 0 || open {
            return Err(impostor(place, "belongs to, or can be written by, somebody else than root"));
        }
    }
    if path.is_absolute() { Ok(()) } else { Err(impostor(path, "is not an absolute path")) }
}

fn impostor(path: &Path, why: &str) -> Failure {
    Failure::new(
        "not-the-daemon",
        76,
        format!("{} {why}: a daemon there could be anybody's", path.display()),
        "unset CLOSEDPAW_SOCKET, or name the socket of a daemon that root started",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_what_stands_before_the_sockets_place() {
        assert_eq!(
            Daemon::at(Path::new("/run/closedpaw/closedpawd.sock")).etc(),
            Path::new("/etc/closedpaw")
        );
        let private = Daemon::at(Path::new("/opt/x/run/closedpaw/closedpawd.sock"));
        assert_eq!(private.etc(), Path::new("/opt/x/etc/closedpaw"));
    }

    /// Row K7: a socket in a folder of somebody's is not dialled, whatever is behind it.
    #[test]
    fn a_socket_that_anybody_could_have_put_there_is_not_dialled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("closedpawd.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(Daemon::at(&path).dial().unwrap_err().code, "not-the-daemon");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Daemon::at(&link).dial().unwrap_err().code, "not-the-daemon");
    }
}
