//! Which disk a filesystem lies on: cgroup v2 keeps reading and writing to a limit disk by disk (`io.max`), and takes whole disks
//! only.
#![forbid(unsafe_code)]

use rustix::fs::{major, minor};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel says what its block devices are, by number.
const SYSFS: &str = "/sys/dev/block";

/// A whole disk, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Disk {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// As `io.max` wants it (cgroup-v2.rst).
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The disk below the filesystem with this number (`st_dev`). None where the number is no disk's: memory, a network, an overlay,
/// and filesystems that keep numbers of their own, such as btrfs and zfs.
pub(super) fn below(device: u64) -> Option<Disk> {
    whole(Path::new(SYSFS), device)
}

fn whole(sysfs: &Path, device: u64) -> Option<Disk> {
    let block = fs::canonicalize(sysfs.join(format!("{}:{}", major(device), minor(device)))).ok()?;
    // A partition's folder is in its disk's.
    let disk: PathBuf = if block.join("partition").exists() { block.parent()?.to_owned() } else { block };
    let number = fs::read_to_string(disk.join("dev")).ok()?;
    let (major, minor) = number.trim_end().split_once(':')?;
    Some(Disk { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::makedev;
    use std::os::unix::fs::symlink;

    /// Folders as sysfs has them for a disk with a partition, a mapped device and a number without a disk.
    #[test]
    fn a_partition_is_its_whole_disk_and_what_is_no_disk_is_none() {
        let root = std::env::temp_dir().join(format!("closedpaw-disks-{}", std::process::id()));
        let numbers = root.join("dev/block");
        fs::create_dir_all(&numbers).unwrap();
        for (folder, number) in [
            ("devices/virtio/block/vda", "254:0"),
            ("devices/virtio/block/vda/vda2", "254:2"),
            ("devices/virtual/block/dm-0", "253:0"),
        ] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            symlink(&folder, numbers.join(number)).unwrap();
        }
        fs::write(root.join("devices/virtio/block/vda/vda2/partition"), "2\n").unwrap();
        let of = |major, minor| whole(&numbers, makedev(major, minor)).map(|disk| disk.to_string());
        assert_eq!(of(254, 2).as_deref(), Some("254:0"));
        assert_eq!(of(254, 0).as_deref(), Some("254:0"));
        assert_eq!(of(253, 0).as_deref(), Some("253:0"));
        // The number of a tmpfs or a btrfs subvolume (0:42), and of a disk that has gone.
        assert_eq!(of(0, 42), None);
        assert_eq!(of(8, 1), None);
        fs::remove_dir_all(root).unwrap();
    }
}
