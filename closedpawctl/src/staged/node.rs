//! One file, folder or link as it is: what it takes to say later that it still is that.
#![forbid(unsafe_code)]

use super::place::open_beneath;
use closedpaw_protocol::Digest;
use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxAttributes, StatxFlags, readlinkat, statx};
use rustix::path::Arg;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// The largest file that is compared, shown or carried over: a sparse one may claim any size.
pub const LARGEST: u64 = 1 << 30;

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a FIFO, a socket.
    Special,
}

/// Something as it was seen: the same again if, and only if, all of this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits; of a file setuid and setgid, too.
    pub mode: u32,
    /// The length of a file's content or of a link's text.
    pub size: u64,
    /// Of a file's content or a link's text: BLAKE3. Zeros for whatever has no content.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub digest: Digest,
}

fn to_hex<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// What the kernel says of something without its content being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it is.
    pub kind: Kind,
    /// Its bits as [`Node::mode`] has them.
    pub mode: u32,
    /// Its size.
    pub size: u64,
    /// Names it has.
    pub links: u32,
    /// Which inode.
    pub inode: u64,
    /// Of which device, as the kernel tells its parts.
    pub device: (u32, u32),
    /// When it was changed last, in any way.
    pub changed: (i64, u32),
    /// When its content was changed last.
    pub written: (i64, u32),
    /// Another filesystem is mounted there.
    pub is_mount: bool,
}

impl Stamp {
    /// Looks at a name in a folder; none where there is no such name.
    pub fn of(folder: &impl AsFd, name: impl Arg) -> io::Result<Option<Self>> {
        match statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(Some(Self::from_stat(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn of_open(file: &impl AsFd) -> io::Result<Self> {
        Ok(Self::from_stat(&statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }

    fn from_stat(stat: &Statx) -> Self {
        let mode = u32::from(stat.stx_mode);
        let (kind, mode) = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => (Kind::File, mode & 0o6777),
            FileType::Directory => (Kind::Folder, mode & 0o777),
            FileType::Symlink => (Kind::Link, 0o777),
            _ => (Kind::Special, mode & 0o7777),
        };
        Self {
            kind,
            mode,
            size: if matches!(kind, Kind::File | Kind::Link) { stat.stx_size } else { 0 },
            links: stat.stx_nlink,
            inode: stat.stx_ino,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            written: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            is_mount: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    /// Whether it is still the same thing though its name was changed, which counts as a change of it.
    pub fn is_moved(&self, other: &Self) -> bool {
        let fixed = |stamp: &Self| (stamp.kind, stamp.mode, stamp.size, stamp.inode, stamp.written);
        fixed(self) == fixed(other)
    }
}

impl Node {
    /// Reads what is there; `stamp` is what the kernel said of it just now.
    ///
    /// # Errors
    /// `InvalidData` if it is too large, or changed meanwhile.
    pub fn read(folder: &impl AsFd, name: &str, stamp: &Stamp) -> io::Result<Self> {
        let digest = match stamp.kind {
            Kind::File => digest_of(&mut open(folder, name, stamp)?, &mut io::sink())?.1,
            Kind::Link => Digest::of(&link_text(folder, name)?),
            Kind::Folder | Kind::Special => Digest([0; 32]),
        };
        Ok(Self { kind: stamp.kind, mode: stamp.mode, size: stamp.size, digest })
    }

    /// What is under a name now, if anything.
    pub fn at(folder: &impl AsFd, name: &str) -> io::Result<Option<(Self, Stamp)>> {
        let Some(stamp) = Stamp::of(folder, name)? else { return Ok(None) };
        Ok(Some((Self::read(folder, name, &stamp)?, stamp)))
    }
}

/// When something was made, where its filesystem knows.
pub fn birth(of: &impl AsFd) -> Option<(i64, u32)> {
    let stat = statx(of, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    known.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// Opens a file that is what the kernel said of it, and no longer than what is read of any.
pub fn open(folder: &impl AsFd, name: &str, stamp: &Stamp) -> io::Result<File> {
    let file = open_beneath(folder, name, OFlags::RDONLY)?;
    let now = Stamp::of_open(&file)?;
    if now.kind != Kind::File || now.inode != stamp.inode {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it changed while it was looked at"));
    }
    if now.size > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 GiB"));
    }
    Ok(file.into())
}

/// The text of a link.
pub fn link_text(folder: &impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    Ok(readlinkat(folder, name, Vec::new())?.into_bytes())
}

/// Copies to the end, at most [`LARGEST`] bytes: their number and their digest.
pub fn digest_of(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, Digest)> {
    let (mut hasher, mut length) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 128 * 1024];
    let mut from = from.take(LARGEST + 1);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        to.write_all(piece)?;
        length += read as u64;
    }
    if length > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 GiB"));
    }
    Ok((length, Digest(*hasher.finalize().as_bytes())))
}
