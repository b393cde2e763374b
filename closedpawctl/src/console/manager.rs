//! What the service manager is told of a command that runs as a service (sd_notify(3)). Without one, nothing.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the manager listens. Not for children: what they say of themselves is not said of this service.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// It does what it is for.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}"));
}

/// How it stands, for `systemctl status`.
pub fn status(status: &str) {
    tell(&format!("STATUS={status}"));
}

/// A manager that cannot be told has a timeout of its own and knows better than this program what to do then.
fn tell(state: &str) {
    if let Some(name) = std::env::var_os(SOCKET) {
        drop(send(&name, state));
    }
}

/// A name that begins with `@` is one without a file (unix(7), "abstract").
fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&at_path), "READY=1");

        let name = format!("closedpaw-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let without_file = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), "STATUS=x").unwrap();
        assert_eq!(received(&without_file), "STATUS=x");
    }
}
