//! The runtime, as the admin pinned it: a path and the BLAKE3 digest of the file there.
//!
//! A hostile runtime lies to every probe, so it is not probed for honesty but compared. The verified file stays open
//! and is what runs; a file put in its place later is noticed by its metadata and compared again.
#![forbid(unsafe_code)]

use crate::paths::Paths;
use closedpaw_protocol::ErrorCode;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The runtime that may run.
#[derive(Debug)]
pub struct Pin {
    path: PathBuf,
    digest: blake3::Hash,
    file: File,
    seen: Stamp,
}

/// Why there is no runtime that may run.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nobody has pinned one.
    #[error("no runtime is pinned; install gVisor (Debian 13: apt install runsc), then run: closedpawd pin")]
    Unpinned,
    /// It is not there.
    #[error(
        "the runtime {path} is missing ({error}); install gVisor (Debian 13: apt install runsc), then run: closedpawd pin"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        error: io::Error,
    },
    /// It is another file than the pinned one.
    #[error("the runtime {path} is not the pinned one; if you changed it, run: closedpawd pin")]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Somebody else than root could change it.
    #[error("{0}")]
    Path(#[from] crate::paths::PathError),
    /// The pin itself makes no sense.
    #[error("{path}: expected one line as b3sum prints it: DIGEST  PATH")]
    Malformed {
        /// The pin's file.
        path: PathBuf,
    },
}

impl PinError {
    /// What a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unpinned | Self::Missing { .. } => ErrorCode::RuntimeMissing,
            Self::Changed { .. } | Self::Path(_) | Self::Malformed { .. } => ErrorCode::RuntimeChanged,
        }
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
    }
}

impl Pin {
    /// Reads the pin and compares the file.
    pub fn load(paths: &Paths) -> Result<Self, PinError> {
        let pin = paths.runtime_pin();
        let line = fs::read_to_string(&pin).map_err(|_| PinError::Unpinned)?;
        let malformed = || PinError::Malformed { path: pin.clone() };
        let (digest, path) = line.trim_end().split_once("  ").ok_or_else(malformed)?;
        let digest = blake3::Hash::from_hex(digest).map_err(|_| malformed())?;
        Self::compare(Path::new(path), digest)
    }

    fn compare(path: &Path, digest: blake3::Hash) -> Result<Self, PinError> {
        let (file, found, seen) = hash(path)?;
        if found != digest {
            return Err(PinError::Changed { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), digest, file, seen })
    }

    /// Whether the path still leads to the file that was compared; if not, whether to one with the same digest.
    pub fn still_holds(self) -> Result<Self, PinError> {
        let missing = |error| PinError::Missing { path: self.path.clone(), error };
        let now = Stamp::of(&fs::metadata(&self.path).map_err(missing)?);
        if now == self.seen { Ok(self) } else { Self::compare(&self.path, self.digest) }
    }

    /// The compared file, open.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.to_hex();
        write!(f, "{} (BLAKE3 {}…)", self.path.display(), digest.get(..16).unwrap_or_default())
    }
}

/// Pins the file at `path` as it is now, and says what was pinned.
pub fn write(paths: &Paths, path: &Path) -> Result<Pin, PinError> {
    let missing = |error| PinError::Missing { path: path.to_owned(), error };
    let path = fs::canonicalize(path).map_err(missing)?;
    let (file, digest, seen) = hash(&path)?;
    let pin = paths.runtime_pin();
    let draft = pin.with_extension("new");
    let line = format!("{}  {}\n", digest.to_hex(), path.display());
    fs::create_dir_all(paths.etc()).map_err(missing)?;
    fs::write(&draft, line).and_then(|()| fs::rename(&draft, &pin)).map_err(missing)?;
    Ok(Pin { path, digest, file, seen })
}

fn hash(path: &Path) -> Result<(File, blake3::Hash, Stamp), PinError> {
    let missing = |error| PinError::Missing { path: path.to_owned(), error };
    let file = File::open(path).map_err(missing)?;
    crate::paths::check(path.parent().unwrap_or(Path::new("/")))?;
    let metadata = file.metadata().map_err(missing)?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(PinError::Changed { path: path.to_owned() });
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file).map_err(missing)?;
    Ok((file, hasher.finalize(), Stamp::of(&metadata)))
}
