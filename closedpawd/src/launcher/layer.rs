//! The private layer over a workspace: an overlay whose upper half is a bounded memory filesystem.
//!
//! The folder comes as a descriptor that the person opened. It is looked at with `fstat` and mounted through that
//! descriptor, so there is no name that could be swapped in between.
#![forbid(unsafe_code)]

use crate::accounts;
use closedpaw_protocol::ErrorCode;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statfs::{self, FsType, fstatfs};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The largest layer that is made, whatever the judge says: it is memory.
const MOST: u64 = 8 << 30;

/// Filesystems that are views of the kernel, not folders of anybody's.
const PSEUDO: [FsType; 7] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::CGROUP_SUPER_MAGIC,
    statfs::CGROUP2_SUPER_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::DEVPTS_SUPER_MAGIC,
    statfs::SECURITYFS_MAGIC,
];

/// A mounted layer under a sandbox's folder.
#[derive(Debug)]
pub(super) struct Layer {
    folder: PathBuf,
}

impl Layer {
    /// Where in a sandbox's folder the workspace is as it sees it.
    pub(super) fn merged(folder: &Path) -> PathBuf {
        folder.join("merged")
    }

    /// Mounts `folder/merged`: the workspace as the sandbox will see it. Gives a descriptor of it. `label` is the mount
    /// option that says whose files these are, if any.
    pub(super) fn mount(
        folder: &Path,
        workspace: &OwnedFd,
        uid: u32,
        bytes: u64,
        label: &str,
    ) -> Result<(Self, OwnedFd), ErrorCode> {
        let stat = fstat(workspace).map_err(|_| ErrorCode::WorkspaceMissing)?;
        check(workspace, &stat, uid)?;
        let workspace = &in_own_mounts(workspace, &stat)?;
        // From here on dropping the layer takes away what was mounted so far.
        let layer = Self { folder: folder.to_owned() };
        let merged = layer.assemble(workspace, &stat, bytes, label).map_err(|error| {
            tracing::error!("layer over a workspace of uid {uid}: {error}");
            ErrorCode::SandboxFailed
        })?;
        Ok((layer, merged))
    }

    fn assemble(&self, workspace: &OwnedFd, stat: &FileStat, bytes: u64, label: &str) -> io::Result<OwnedFd> {
        let (memory, merged) = (self.folder.join("layer"), Self::merged(&self.folder));
        fs::create_dir(&memory)?;
        fs::create_dir(&merged)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let size = format!("size={},nr_inodes=262144,mode=0700{label}", bytes.min(MOST));
        mount(Some("closedpaw-layer"), &memory, Some("tmpfs"), flags, Some(size.as_str()))?;
        let (upper, work) = (memory.join("upper"), memory.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        // The merged folder shows the upper one's owner and mode.
        chown(&upper, Some(stat.st_uid), Some(stat.st_gid))?;
        fs::set_permissions(&upper, Permissions::from_mode(stat.st_mode & 0o777))?;
        let options = format!(
            "lowerdir=/proc/self/fd/{},upperdir={},workdir={}{label}",
            workspace.as_raw_fd(),
            upper.display(),
            work.display()
        );
        mount(Some("closedpaw"), &merged, Some("overlay"), flags, Some(options.as_str()))?;
        Ok(fs::File::open(&merged)?.into())
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        for place in ["merged", "layer"] {
            // Not mounted, or gone with the namespace: either way nothing is left to undo.
            let _ = umount2(&self.folder.join(place), MntFlags::MNT_DETACH);
        }
    }
}

/// A workspace is a real folder of the person's own, and neither a home folder nor above one.
fn check(workspace: &OwnedFd, stat: &FileStat, uid: u32) -> Result<(), ErrorCode> {
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(ErrorCode::WorkspaceMissing);
    }
    let kind = fstatfs(workspace).map_err(|_| ErrorCode::WorkspaceMissing)?.filesystem_type();
    if stat.st_uid != uid || uid == 0 || PSEUDO.contains(&kind) || is_home_or_above(stat)? {
        return Err(ErrorCode::WorkspaceForbidden);
    }
    Ok(())
}

/// The same folder by way of this process's own mount table, which is the only one an overlay takes a lower layer from.
///
/// The kernel says where the descriptor leads; that place is opened without following any link and must turn out to be
/// the very same folder. A client in another mount namespace, or somebody who swaps folders, is refused.
fn in_own_mounts(workspace: &OwnedFd, stat: &FileStat) -> Result<OwnedFd, ErrorCode> {
    let link = format!("/proc/self/fd/{}", workspace.as_raw_fd());
    let path = fs::read_link(link).map_err(|_| ErrorCode::WorkspaceMissing)?;
    let plain = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = openat2(rustix::fs::CWD, &path, flags, Mode::empty(), plain)
        .map_err(|_| ErrorCode::WorkspaceForbidden)?;
    let found = fstat(&own).map_err(|_| ErrorCode::WorkspaceMissing)?;
    let same = (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino);
    if path.is_absolute() && same { Ok(own) } else { Err(ErrorCode::WorkspaceForbidden) }
}

fn is_home_or_above(stat: &FileStat) -> Result<bool, ErrorCode> {
    let homes = accounts::homes().map_err(|_| ErrorCode::Internal)?;
    let same = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|found| found.dev() == stat.st_dev && found.ino() == stat.st_ino)
    };
    Ok(homes.iter().any(|home| home.ancestors().any(same)))
}
