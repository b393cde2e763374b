//! Namespaces around a shim and all that it starts: no network, and of the mounts none that is another sandbox's.
//!
//! What a shim mounts for its sandbox is in a table that goes with it, however it ends. It shares a table with what it starts, so
//! that these see what it mounts later: Kata Containers hands folders to its virtual machine in this way.
#![forbid(unsafe_code)]

use crate::error::ShimError;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Puts this process, which has one thread yet, and whatever it starts apart from all sandboxes but the one of `bundle`, and from
/// what is mounted for them but `keep`.
pub(crate) fn set_apart(bundle: &Path, keep: Option<&Path>) -> Result<(), ShimError> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).map_err(ShimError::here("unshare"))?;
    for kind in [MsFlags::MS_SLAVE, MsFlags::MS_SHARED] {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | kind, None::<&str>)
            .map_err(ShimError::here("a mount table of its own"))?;
    }
    let table = fs::read("/proc/thread-self/mountinfo").map_err(ShimError::here("its mounts"))?;
    for place in others(&table, bundle, keep) {
        match umount2(&place, MntFlags::MNT_DETACH) {
            // What was mounted on it has taken it along.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(error) => {
                return Err(ShimError::Here {
                    what: "another sandbox's mount",
                    error: io::Error::from(error),
                });
            }
        }
    }
    Ok(())
}

/// The mounts in the folders beside `bundle`, the innermost first.
fn others(table: &[u8], bundle: &Path, keep: Option<&Path>) -> Vec<PathBuf> {
    let Some(beside) = bundle.parent() else { return Vec::new() };
    let is_kept = |place: &Path| keep.is_some_and(|keep| place.starts_with(keep));
    let places = table.split(|byte| *byte == b'\n').filter_map(place);
    let mut others: Vec<PathBuf> = places
        .filter(|place| {
            place.starts_with(beside) && *place != beside && !place.starts_with(bundle) && !is_kept(place)
        })
        .collect();
    others.reverse();
    others
}

/// The place of a mount: the fifth field of a line, with white space and backslashes as octal numbers (proc_pid_mountinfo(5)).
fn place(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as in proc_pid_mountinfo(5).
    const TABLE: &[u8] = b"36 35 98:0 / / rw - ext4 /dev/root rw
37 36 0:44 / /run/sandboxes/a/layer rw,nosuid - tmpfs closedpaw-layer rw
38 36 0:45 / /run/sandboxes/a/merged rw,nosuid - overlay closedpaw rw
39 36 0:46 / /run/sandboxes/b/merged rw,nosuid - overlay closedpaw rw
40 39 0:47 / /run/sandboxes/b/merged/with\\040a\\134b rw - tmpfs x rw
41 36 0:48 / /run/sandboxes rw - tmpfs x rw
42 36 0:49 / /run/sandboxes-not rw - tmpfs x rw
";

    #[test]
    fn what_is_mounted_for_others_is_found_innermost_first() {
        let found = others(TABLE, Path::new("/run/sandboxes/a"), None);
        assert_eq!(
            found,
            ["/run/sandboxes/b/merged/with a\\b", "/run/sandboxes/b/merged"].map(PathBuf::from)
        );
        assert_eq!(others(TABLE, Path::new("/run/sandboxes/c"), None).len(), 4);
        assert!(others(b"", Path::new("/run/sandboxes/a"), None).is_empty());
        assert!(others(TABLE, Path::new("/elsewhere/a"), None).is_empty());
        let keep = Some(Path::new("/run/sandboxes/a/merged"));
        let found = others(TABLE, Path::new("/run/sandboxes/c"), keep);
        assert!(found.contains(&PathBuf::from("/run/sandboxes/a/layer")) && found.len() == 3, "{found:?}");
    }
}
