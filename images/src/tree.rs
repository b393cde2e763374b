//! The folder that a layer is unpacked into: every step is beneath it and through no link.
//!
//! What is made has one owner, no set bits and no attributes: folders may be entered by everybody, files read, and executed if
//! anybody could execute them. What a layer hides of those below it is marked as an overlay does that is mounted with `userxattr`
//! (the kernel's overlayfs documentation): a character device 0:0, which anybody may make, and an attribute of a folder's.
#![forbid(unsafe_code)]

use closedpaw_protocol::image::{Bounds, Fault};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, Timespec, Timestamps, XattrFlags, fsetxattr,
    futimens, linkat, mkdirat, mknodat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Beneath the folder that is given, through no link of any kind.
const PLAIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A folder by descriptor, only to go on from.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder with this attribute shows nothing of the layers below.
const OPAQUE: &str = "user.overlay.opaque";

/// A path of a layer: plain names, none of them a way up. Empty for the layer's own folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<Vec<u8>>);

impl Place {
    /// Reads a name as it stands in a tar.
    pub fn parse(path: &[u8], bounds: &Bounds) -> Result<Self, Fault> {
        if path.is_empty() || path.contains(&0) {
            return Err(Fault::BadName);
        }
        if path.len() > bounds.path {
            return Err(Fault::PathBound);
        }
        if path.starts_with(b"/") {
            return Err(Fault::Absolute);
        }
        let parts: Vec<Vec<u8>> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .map(<[u8]>::to_vec)
            .collect();
        if parts.iter().any(|part| part == b"..") {
            Err(Fault::Traversal)
        } else if parts.iter().any(|part| part.len() > 255) {
            Err(Fault::PathBound)
        } else if parts.len() > bounds.depth {
            Err(Fault::DepthBound)
        } else {
            Ok(Self(parts))
        }
    }

    /// The folder it is in, and its name there; nothing for the layer's own folder.
    pub fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.0.split_last().map(|(name, parent)| (parent, name.as_slice()))
    }

    /// The place of another name in the same folder.
    #[must_use]
    pub fn beside(&self, name: &[u8]) -> Self {
        let (_, parent) = self.0.split_last().map_or((None, &[][..]), |(last, parent)| (Some(last), parent));
        Self(parent.iter().cloned().chain([name.to_vec()]).collect())
    }
}

/// The folder of one layer.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// The folder that was used last: a tar has most of a folder's entries one after the other.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
}

impl Tree {
    /// Makes the folder of this name, which must not be there.
    pub fn make(below: BorrowedFd<'_>, name: &str) -> Result<Self, Fault> {
        mkdirat(below, name, Mode::from_raw_mode(0o755)).map_err(of_write)?;
        let root = openat2(below, name, FOLDER, Mode::empty(), PLAIN).map_err(of_write)?;
        Ok(Self { root, last: None })
    }

    /// A folder; what is missing above it is made as well. One that is there stays as it is.
    pub fn folder(&mut self, place: &Place) -> Result<(), Fault> {
        let Some((parent, name)) = place.split() else { return Ok(()) };
        let parent = self.open(parent)?;
        match kind(&parent, name)? {
            Some(FileType::Directory) => Ok(()),
            None => make_folder(&parent, name),
            // It was hidden, and so is what it had below.
            Some(FileType::CharacterDevice) => {
                self.replace(&parent, name)?;
                make_folder(&parent, name)?;
                opaque(&parent, name)
            }
            Some(_) => {
                self.replace(&parent, name)?;
                make_folder(&parent, name)
            }
        }
    }

    /// A new file, open to be written. It takes the place of what was there.
    pub fn file(&mut self, place: &Place, executable: bool) -> Result<File, Fault> {
        let (parent, name) = self.room(place)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        openat2(&parent, name, flags, mode, PLAIN).map(File::from).map_err(of_write)
    }

    /// A symbolic link. It leads wherever it says, and nothing here ever follows it.
    pub fn link(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault> {
        let (parent, name) = self.room(place)?;
        symlinkat(target, &parent, name).map_err(of_write)
    }

    /// Another name of a file that this layer has already.
    pub fn hard_link(&mut self, place: &Place, target: &Place) -> Result<(), Fault> {
        let (to, to_name) = target.split().ok_or(Fault::BadHardLink)?;
        // What is missing on the way to a link's target is not made.
        let to = match self.find(to)? {
            Some(folder) => folder,
            None => return Err(Fault::BadHardLink),
        };
        if kind(&to, to_name)? != Some(FileType::RegularFile) {
            return Err(Fault::BadHardLink);
        }
        if place == target {
            return Ok(());
        }
        let (parent, name) = self.room(place)?;
        linkat(&to, to_name, &parent, name, AtFlags::empty()).map_err(of_write)
    }

    /// Hides what layers below have at a place. What this layer itself has there stays.
    pub fn hide(&mut self, place: &Place) -> Result<(), Fault> {
        let (parent, name) = place.split().ok_or(Fault::BadName)?;
        let parent = self.open(parent)?;
        match kind(&parent, name)? {
            None => mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0).map_err(of_write),
            Some(FileType::Directory) => opaque(&parent, name),
            Some(_) => Ok(()),
        }
    }

    /// Hides all that layers below have in a folder.
    pub fn hide_all_in(&mut self, parts: &[Vec<u8>]) -> Result<(), Fault> {
        let folder = self.open(parts)?;
        opaque(&folder, b".")
    }

    /// A place for something new: what was there before is taken away, as the last entry of a name counts.
    fn room<'p>(&mut self, place: &'p Place) -> Result<(OwnedFd, &'p [u8]), Fault> {
        // The layer's own folder is no file.
        let (parent, name) = place.split().ok_or(Fault::NotAFolder)?;
        let parent = self.open(parent)?;
        if kind(&parent, name)?.is_some() {
            self.replace(&parent, name)?;
        }
        Ok((parent, name))
    }

    fn replace(&mut self, parent: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
        // A folder that goes may be the one that was used last.
        self.last = None;
        match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Fault::NotAFolder),
                result => result.map_err(of_write),
            },
            result => result.map_err(of_write),
        }
    }

    /// The folder at a place, made if it is missing.
    fn open(&mut self, parts: &[Vec<u8>]) -> Result<OwnedFd, Fault> {
        if let Some(found) = self.find(parts)? {
            return Ok(found);
        }
        let mut folder = again(&self.root)?;
        for part in parts {
            folder = match step(&folder, part)? {
                Some(next) => next,
                None => {
                    make_folder(&folder, part)?;
                    step(&folder, part)?.ok_or(Fault::Write)?
                }
            };
        }
        self.remember(parts, &folder)?;
        Ok(folder)
    }

    /// The folder at a place, if it is there.
    fn find(&mut self, parts: &[Vec<u8>]) -> Result<Option<OwnedFd>, Fault> {
        if let Some((last, folder)) = &self.last
            && last == parts
        {
            return again(folder).map(Some);
        }
        let mut folder = again(&self.root)?;
        for part in parts {
            match step(&folder, part)? {
                Some(next) => folder = next,
                None => return Ok(None),
            }
        }
        self.remember(parts, &folder)?;
        Ok(Some(folder))
    }

    fn remember(&mut self, parts: &[Vec<u8>], folder: &OwnedFd) -> Result<(), Fault> {
        self.last = Some((parts.to_vec(), again(folder)?));
        Ok(())
    }
}

/// When a file was changed, for programs that compare.
pub fn date(file: &File, seconds: u64) -> Result<(), Fault> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    match futimens(file, &times) {
        // A filesystem that knows no such time.
        Err(Errno::INVAL | Errno::RANGE | Errno::OVERFLOW) => Ok(()),
        result => result.map_err(of_write),
    }
}

fn step(folder: &OwnedFd, part: &[u8]) -> Result<Option<OwnedFd>, Fault> {
    match openat2(folder, part, FOLDER, Mode::empty(), PLAIN) {
        Ok(next) => Ok(Some(next)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(Fault::ThroughLink),
        Err(Errno::NOTDIR) => match kind(folder, part)? {
            Some(FileType::Symlink) => Err(Fault::ThroughLink),
            _ => Err(Fault::NotAFolder),
        },
        Err(error) => Err(of_write(error)),
    }
}

/// What is at a place, if anything.
fn kind(folder: &OwnedFd, name: &[u8]) -> Result<Option<FileType>, Fault> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode as RawMode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(of_write(error)),
    }
}

fn make_folder(parent: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(of_write)
}

fn opaque(parent: &OwnedFd, name: &[u8]) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat2(parent, name, flags, Mode::empty(), PLAIN).map_err(of_write)?;
    fsetxattr(&folder, OPAQUE, b"y", XattrFlags::empty()).map_err(of_write)
}

fn again(folder: &impl AsFd) -> Result<OwnedFd, Fault> {
    rustix::io::fcntl_dupfd_cloexec(folder, 0).map_err(of_write)
}

/// What a refused call on the store means.
pub(crate) fn of_write(error: Errno) -> Fault {
    match error {
        Errno::NOSPC | Errno::DQUOT => Fault::NoSpace,
        Errno::LOOP => Fault::ThroughLink,
        Errno::NAMETOOLONG => Fault::PathBound,
        _ => Fault::Write,
    }
}

/// So that a tree can be made below a path, in tests and fuzzing.
pub fn open_folder(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
