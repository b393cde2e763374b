//! What the worker left behind becomes root's, after the worker has ended: every entry is looked at once, by descriptor.
#![forbid(unsafe_code)]

use closedpaw_protocol::image::{BOUNDS, Fault};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Uid, chownat, fchmod, fchown,
    openat2, statat,
};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Beneath the folder that is given, through no link.
const PLAIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives a layer to root. Anything in it but folders, files without set bits, links and whiteouts is a fault.
pub(super) fn settle(layer: &Path) -> Result<(), Fault> {
    let plain = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let root = openat2(CWD, layer, FOLDER, Mode::empty(), plain).map_err(|_| Fault::Strange)?;
    below(&root, BOUNDS.depth + 1)
}

/// A folder and all that is below it, at most so many folders deep.
fn below(folder: &OwnedFd, depth: usize) -> Result<(), Fault> {
    let depth = depth.checked_sub(1).ok_or(Fault::Strange)?;
    for entry in Dir::read_from(folder).map_err(|_| Fault::Write)? {
        let entry = entry.map_err(|_| Fault::Write)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| Fault::Write)?;
        let set_bits = found.st_mode & 0o7000 != 0;
        match FileType::from_raw_mode(found.st_mode as RawMode) {
            FileType::Directory => {
                let next = openat2(folder, name, FOLDER, Mode::empty(), PLAIN).map_err(|_| Fault::Strange)?;
                below(&next, depth)?;
                continue;
            }
            FileType::RegularFile if set_bits || found.st_mode & 0o022 != 0 => return Err(Fault::Strange),
            FileType::RegularFile | FileType::Symlink => {}
            // A whiteout.
            FileType::CharacterDevice if found.st_rdev == 0 => {}
            _ => return Err(Fault::Strange),
        }
        let (user, group) = (Some(Uid::ROOT), Some(Gid::ROOT));
        chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| Fault::Write)?;
    }
    fchown(folder, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(|_| Fault::Write)?;
    fchmod(folder, Mode::from_raw_mode(0o755)).map_err(|_| Fault::Write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::{Mode as NixMode, SFlag, mknod};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    /// A layer as a worker leaves it, which only root can make.
    fn layer() -> Option<tempfile::TempDir> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "x").unwrap();
        fs::set_permissions(folder.path().join("a/b/file"), Permissions::from_mode(0o644)).unwrap();
        symlink("/etc/shadow", folder.path().join("a/link")).unwrap();
        chown(folder.path().join("a/b/file"), Some(1_900_001_024), Some(1_900_001_024)).ok()?;
        Some(folder)
    }

    #[test]
    fn all_of_a_layer_becomes_roots_and_nothing_else_does() {
        let Some(folder) = layer() else { return };
        let outside = folder.path().with_extension("outside");
        fs::write(&outside, "x").unwrap();
        chown(&outside, Some(12_345), Some(12_345)).unwrap();
        symlink(&outside, folder.path().join("out")).unwrap();
        mknod(&folder.path().join("gone"), SFlag::S_IFCHR, NixMode::empty(), 0).unwrap();
        assert_eq!(settle(folder.path()), Ok(()));
        for name in ["a", "a/b", "a/b/file", "a/link", "out", "gone"] {
            let found = fs::symlink_metadata(folder.path().join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (0, 0), "{name}");
        }
        assert_eq!(fs::metadata(&outside).unwrap().uid(), 12_345, "what a link leads to is not touched");
        fs::remove_file(outside).unwrap();
    }

    #[test]
    fn what_no_worker_may_leave_is_a_fault() {
        for strange in ["pipe", "device", "setuid", "writable"] {
            let Some(folder) = layer() else { return };
            let path = folder.path().join("a/b/strange");
            match strange {
                "pipe" => mknod(&path, SFlag::S_IFIFO, NixMode::from_bits_retain(0o644), 0).unwrap(),
                "device" => mknod(&path, SFlag::S_IFCHR, NixMode::from_bits_retain(0o666), 0x103).unwrap(),
                _ => {
                    fs::write(&path, "x").unwrap();
                    let mode = if strange == "setuid" { 0o4755 } else { 0o666 };
                    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                }
            }
            assert_eq!(settle(folder.path()), Err(Fault::Strange), "{strange}");
        }
    }
}
