//! The root filesystem of an image, for one person: its layers, read-only, and above them our own places and files.
//!
//! It is an overlay in the launcher's own mount table, shared by all sandboxes of that person on that image. What runs on it keeps it
//! for itself, as a mount of its own: a launcher that comes later does not need it, and mounts another one for the next sandbox.
#![forbid(unsafe_code)]

use super::bundle::{self, Rootfs};
use super::internal;
use super::selinux::SeLinux;
use super::setup::Programs;
use crate::images::store::{Store, StoreError};
use crate::paths::Paths;
use closedpaw_protocol::ErrorCode;
use closedpaw_protocol::image::Sha256;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::fgetxattr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a root filesystem consists of: our own files, and the place that everything is seen at.
const OWN: &str = "own";
const WHOLE: &str = "root";

/// The root filesystem for a user on an image, mounted if it is not yet. `in_use` says which folders sandboxes use: one that none does
/// is mounted anew, as the image may have been taken away and come back meanwhile.
pub(super) fn rootfs(
    paths: &Paths,
    programs: &Programs,
    selinux: Option<&SeLinux>,
    in_use: impl Fn(&Path) -> bool,
    (uid, gid): (u32, u32),
    image: Sha256,
) -> Result<Rootfs, ErrorCode> {
    let layers = Store::new(paths).layers(image).map_err(|error| {
        tracing::error!("launcher: the image {image}: {error}");
        match error {
            StoreError::Missing => ErrorCode::ImageMissing,
            StoreError::Path(_) | StoreError::Strange(_) | StoreError::File(..) | StoreError::Locked => {
                ErrorCode::SandboxFailed
            }
        }
    })?;
    let folder = paths.run().join("rootfs").join(format!("{uid}-{gid}-{}", image.digits()));
    let (own, whole) = (folder.join(OWN), folder.join(WHOLE));
    fs::create_dir_all(&whole).map_err(internal)?;
    if !own.exists() {
        bundle::own_files(&own, programs, (uid, gid), false).map_err(internal)?;
    }
    if !in_use(&folder) {
        let_go(&folder);
    }
    if !is_mounted(&folder).map_err(internal)? {
        compose(&own, &layers, &whole, selinux).map_err(internal)?;
    }
    Ok(Rootfs { folder, root: whole, host: false })
}

/// Takes a root filesystem's mount away, if it has one: before its files go.
pub(super) fn let_go(folder: &Path) {
    if folder.join(WHOLE).is_dir() {
        // What still uses it keeps it.
        let _ = umount2(&folder.join(WHOLE), MntFlags::MNT_DETACH);
    }
}

fn is_mounted(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.dev() != fs::metadata(folder.join(WHOLE))?.dev())
}

/// Mounts an overlay without an upper half: our own files over the layers, the last one first.
fn compose(own: &Path, layers: &[OwnedFd], whole: &Path, selinux: Option<&SeLinux>) -> io::Result<()> {
    let own = File::open(own)?;
    let mut seen = vec![own.as_raw_fd()];
    for layer in layers.iter().rev() {
        seen.push(layer.as_raw_fd());
        // An overlay looks for this below its layers' own folders only.
        if fgetxattr(layer, "user.overlay.opaque", &mut [0u8; 1]).is_ok() {
            break;
        }
    }
    let lower: Vec<String> = seen.iter().map(|layer| format!("/proc/self/fd/{layer}")).collect();
    let label = selinux.map_or_else(String::new, SeLinux::shared_option);
    // A page is what the options may fill; the bound on layers is made for it.
    let options = format!("lowerdir={},userxattr{label}", lower.join(":"));
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("closedpaw"), whole, Some("overlay"), flags, Some(options.as_str()))?)
}
