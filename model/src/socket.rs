//! The one socket: made in a folder that is the person's alone, or inherited.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use crate::error::Error;
use crate::sys;

/// Binds the socket, mode 0600, in its folder, which is made with mode 0700 where it is missing.
///
/// A socket that nobody answers on is taken over; one that somebody answers on is left alone.
///
/// # Errors
/// The folder is not the person's alone, or the socket cannot be bound.
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    let failed = |error| Error::Socket { what: path.display().to_string(), error };
    let invalid = || failed(io::Error::from(io::ErrorKind::InvalidInput));
    let name = path.file_name().ok_or_else(invalid)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let handle = own_folder(folder, failed)?;
    // Two that start at once take turns; the lock ends with the handle.
    handle.lock().map_err(failed)?;
    // Through the handle: no part of the path can be swapped, and no path is too long to bind.
    let place = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(name);
    remove_unanswered(&place, path)?;
    // Until the mode is set, the folder's keeps others out.
    let listener = UnixListener::bind(&place).map_err(failed)?;
    fs::set_permissions(&place, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Takes a listening Unix socket from whoever started this process.
///
/// # Errors
/// There is none with that number, or it is something else.
pub fn inherit(number: RawFd) -> Result<UnixListener, Error> {
    let failed = |error| Error::Socket { what: format!("descriptor {number}"), error };
    let listener = UnixListener::from(sys::take_inherited(number).map_err(failed)?);
    // Fails for a socket of another family.
    listener.local_addr().map_err(failed)?;
    match getsockopt(&listener, sockopt::AcceptConn) {
        Ok(true) => Ok(listener),
        Ok(false) => Err(failed(io::Error::from(io::ErrorKind::InvalidInput))),
        Err(error) => Err(failed(error.into())),
    }
}

fn own_folder(folder: &Path, failed: impl Fn(io::Error) -> Error) -> Result<File, Error> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let handle = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(folder)
        .map_err(&failed)?;
    let metadata = handle.metadata().map_err(&failed)?;
    if metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0 {
        Ok(handle)
    } else {
        Err(Error::SocketFolder { path: folder.to_owned() })
    }
}

fn remove_unanswered(place: &Path, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::Socket { what: path.display().to_string(), error };
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists))),
    }
    match UnixStream::connect(place) {
        Ok(_) => Err(Error::SocketInUse { path: path.to_owned() }),
        Err(_) => fs::remove_file(place).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_socket_is_the_persons_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/model.sock");
        let _listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(bind(&folder.path().join("s")), Err(Error::SocketFolder { .. })));
    }

    #[test]
    fn a_link_to_a_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        symlink("real", folder.path().join("link")).unwrap();
        assert!(matches!(bind(&folder.path().join("link/s")), Err(Error::Socket { .. })));
    }

    #[test]
    fn an_answered_socket_is_left_alone_and_a_stale_one_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/s");
        let first = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(Error::SocketInUse { .. })));
        drop(first);
        bind(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/notes");
        DirBuilder::new().mode(0o700).create(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(Error::Socket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn only_a_listening_unix_socket_is_inherited() {
        use std::os::fd::IntoRawFd as _;
        assert!(inherit(0).is_err() && inherit(9999).is_err());
        assert!(inherit(File::open("/dev/null").unwrap().into_raw_fd()).is_err());
        assert!(inherit(UnixStream::pair().unwrap().0.into_raw_fd()).is_err());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(inherit(tcp.into_raw_fd()).is_err());
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        inherit(listener.into_raw_fd()).unwrap();
    }
}
