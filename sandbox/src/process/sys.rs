//! A second process, and the one mount call that has no wrapper.

use nix::unistd::{ForkResult, Pid};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Goes on twice: here with the other one's number, there without.
#[allow(unsafe_code)]
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this program never starts a thread, so nothing of it is missing in the child and no lock is held there.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Makes what is mounted at a place, and everything that is mounted below it, read-only, without devices and without programs that
/// give rights (mount_setattr(2)).
#[allow(unsafe_code)]
pub(super) fn read_only_below(place: &Path) -> io::Result<()> {
    let place = CString::new(place.as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the string ends with null and the structure is as long as is said; both live until after the call, which reads
    // them and touches no other memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            place.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
