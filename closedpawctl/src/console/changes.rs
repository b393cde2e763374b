//! What a session changed in its own layer: shown at the end, then thrown away with it.
#![forbid(unsafe_code)]

use crate::client::Connection;
use crate::failure::Failure;
use closedpaw_protocol::SessionId;
use closedpaw_protocol::message::{Reply, Request};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The most entries that are looked at; past it the list says that it is not whole.
const MOST: usize = 200_000;

/// The deepest folder that is looked into.
const DEEPEST: usize = 64;

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the session has it.
    Added,
    /// Both have it, not the same.
    Changed,
    /// Only the workspace has it.
    Removed,
}

/// The differences between a session's view and its workspace.
#[derive(Debug, Default)]
pub struct Changes {
    /// By path, relative to the workspace.
    pub paths: BTreeMap<PathBuf, Change>,
    /// Whether something was left out.
    pub cut: bool,
    looked: usize,
}

/// Compares what the session sees with the folder itself, both through descriptors.
pub async fn of_session(
    connection: &mut Connection,
    session: SessionId,
    workspace: &OwnedFd,
) -> Result<Changes, Failure> {
    let (reply, descriptors) = connection.request(&Request::Changes { session }, &[]).await?;
    let (Reply::Changes, Some(merged)) = (reply, descriptors.into_iter().next()) else {
        return Err(Failure::lost("another answer than a view of the workspace"));
    };
    let mut changes = Changes::default();
    changes.compare(Some(&merged), Some(workspace), Path::new(""), 0);
    Ok(changes)
}

type Entries = BTreeMap<OsString, Stat>;

impl Changes {
    fn compare(&mut self, ours: Option<&OwnedFd>, theirs: Option<&OwnedFd>, place: &Path, depth: usize) {
        let (mine, before) = (ours.map(entries).unwrap_or_default(), theirs.map(entries).unwrap_or_default());
        for name in mine.keys().chain(before.keys().filter(|name| !mine.contains_key(*name))) {
            self.looked += 1;
            if self.looked > MOST || depth > DEEPEST {
                self.cut = true;
                return;
            }
            self.entry((ours, mine.get(name)), (theirs, before.get(name)), &place.join(name), depth);
        }
    }

    fn entry(
        &mut self,
        (ours, mine): (Option<&OwnedFd>, Option<&Stat>),
        (theirs, before): (Option<&OwnedFd>, Option<&Stat>),
        path: &Path,
        depth: usize,
    ) {
        let folder = |side: Option<&OwnedFd>, stat: Option<&Stat>| {
            stat.filter(|stat| kind(stat) == FileType::Directory)
                .and(side)
                .and_then(|side| beneath(side, path.file_name()?, OFlags::DIRECTORY).ok())
        };
        let change = match (mine, before) {
            (Some(_), None) => Some(Change::Added),
            (None, Some(_)) => Some(Change::Removed),
            (Some(a), Some(b)) => {
                differs(a, b, || same_content(ours, theirs, path)).then_some(Change::Changed)
            }
            (None, None) => None,
        };
        if let Some(change) = change {
            self.paths.insert(path.to_owned(), change);
        }
        let (down, under) = (folder(ours, mine), folder(theirs, before));
        if down.is_some() || under.is_some() {
            self.compare(down.as_ref(), under.as_ref(), path, depth + 1);
        }
    }
}

fn entries(folder: &OwnedFd) -> Entries {
    let Ok(directory) = Dir::read_from(folder) else { return Entries::new() };
    let stat = |name: &std::ffi::CStr| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    directory
        .flatten()
        .filter(|entry| entry.file_name() != c"." && entry.file_name() != c"..")
        .filter_map(|entry| {
            Some((OsString::from_vec(entry.file_name().to_bytes().to_vec()), stat(entry.file_name())?))
        })
        .collect()
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Cheap signs first; content only where they leave it open.
fn differs(a: &Stat, b: &Stat, same_content: impl Fn() -> bool) -> bool {
    if a.st_mode != b.st_mode || a.st_uid != b.st_uid {
        return true;
    }
    match kind(a) {
        FileType::Directory => false,
        FileType::RegularFile | FileType::Symlink => {
            let same_time = (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec);
            a.st_size != b.st_size || (!same_time && !same_content())
        }
        _ => a.st_rdev != b.st_rdev,
    }
}

fn same_content(ours: Option<&OwnedFd>, theirs: Option<&OwnedFd>, path: &Path) -> bool {
    let hash = |side: Option<&OwnedFd>| -> io::Result<blake3::Hash> {
        let (Some(side), Some(name)) = (side, path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut hasher = blake3::Hasher::new();
        let file = File::from(beneath(side, name, OFlags::NONBLOCK)?);
        hasher.update_reader(file.take(1 << 30))?;
        Ok(hasher.finalize())
    };
    matches!((hash(ours), hash(theirs)), (Ok(a), Ok(b)) if a == b)
}

fn beneath(folder: &OwnedFd, name: &std::ffi::OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat2(folder.as_fd(), name, flags, Mode::empty(), within)?)
}
