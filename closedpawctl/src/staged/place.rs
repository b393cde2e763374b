//! Where something is in a workspace: a path of plain names that leads nowhere else.
#![forbid(unsafe_code)]

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The longest path that one call of the kernel takes, its NUL not counted (path_resolution(7)).
const LONGEST: usize = 4095;

/// The longest name of one file (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// A path relative to a workspace: names with a `/` between them, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(String);

/// A path that could lead out of the workspace, or that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a plain path inside a workspace")]
pub struct BadPlace;

impl TryFrom<String> for Place {
    type Error = BadPlace;

    fn try_from(path: String) -> Result<Self, BadPlace> {
        let plain = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME;
        let fits = path.len() <= LONGEST && !path.contains('\0') && path.split('/').all(plain);
        if fits { Ok(Self(path)) } else { Err(BadPlace) }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.0
    }
}

impl Place {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder it is in, if that is not the workspace itself.
    pub fn folder(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(folder, _)| folder)
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Whether it is this folder or something in it.
    pub fn is_within(&self, folder: &str) -> bool {
        self.0.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Opens the folder it is in.
    pub fn open_folder(&self, root: &impl AsFd) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open_beneath(root, self.folder().unwrap_or("."), flags)
    }

    /// Whether a link here with that text stays in the workspace.
    ///
    /// Only `..` at the very beginning counts up, from a folder that is really where its path says; behind a name it would
    /// count from wherever that name leads.
    pub fn keeps_inside(&self, text: &[u8]) -> bool {
        if text.is_empty() || text.starts_with(b"/") || text.contains(&0) {
            return false;
        }
        let depth = self.0.matches('/').count();
        let names = text.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        let up = names.clone().take_while(|name| *name == b"..").count();
        up <= depth && names.skip(up).all(|name| name != b"..")
    }
}

/// Opens something below a folder: through plain folders of the same mount only, and never waiting for a FIFO's other end.
pub fn open_beneath(root: &impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let within = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(openat2(root.as_fd(), path, flags, Mode::empty(), within)?)
}
