//! A runtime, as the admin pinned it: a path and the BLAKE3 digest of the file there.
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

/// What is pinned, each in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// gVisor's `runsc`.
    Gvisor,
    /// The shim of Kata Containers.
    Kata,
}

impl Pinned {
    fn file(self, paths: &Paths) -> PathBuf {
        match self {
            Self::Gvisor => paths.runtime_pin(),
            Self::Kata => paths.kata_pin(),
        }
    }

    /// What makes another one the pinned one.
    fn again(self) -> &'static str {
        match self {
            Self::Gvisor => "closedpawd pin",
            Self::Kata => "closedpawd pin --kata",
        }
    }

    /// What to do where there is none.
    fn remedy(self) -> &'static str {
        match self {
            Self::Gvisor => "install gVisor (Debian 13: apt install runsc), then run: closedpawd pin",
            Self::Kata => {
                "install Kata Containers 3 (its release unpacks to /opt/kata), then run: closedpawd pin --kata"
            }
        }
    }
}

/// The runtime that may run.
#[derive(Debug)]
pub struct Pin {
    what: Pinned,
    path: PathBuf,
    digest: blake3::Hash,
    file: File,
    seen: Stamp,
}

/// Why there is no runtime that may run.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nobody has pinned one.
    #[error("no runtime is pinned; {}", .what.remedy())]
    Unpinned {
        /// Which kind.
        what: Pinned,
    },
    /// It is not there.
    #[error("the runtime {path} is missing ({error}); {}", .what.remedy())]
    Missing {
        /// Which kind.
        what: Pinned,
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        error: io::Error,
    },
    /// It is another file than the pinned one.
    #[error("the runtime {path} is not the pinned one; if you changed it, run: {}", .what.again())]
    Changed {
        /// Which kind.
        what: Pinned,
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
            // Without a runtime of its own there is no such tier.
            Self::Unpinned { what: Pinned::Kata } | Self::Missing { what: Pinned::Kata, .. } => {
                ErrorCode::TierMissing
            }
            Self::Unpinned { .. } | Self::Missing { .. } => ErrorCode::RuntimeMissing,
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
    /// Reads gVisor's pin and compares the file.
    pub fn load(paths: &Paths) -> Result<Self, PinError> {
        Self::of(Pinned::Gvisor, paths)
    }

    /// Reads a pin and compares the file.
    pub fn of(what: Pinned, paths: &Paths) -> Result<Self, PinError> {
        let pin = what.file(paths);
        let line = fs::read_to_string(&pin).map_err(|_| PinError::Unpinned { what })?;
        let malformed = || PinError::Malformed { path: pin.clone() };
        let (digest, path) = line.trim_end().split_once("  ").ok_or_else(malformed)?;
        let digest = blake3::Hash::from_hex(digest).map_err(|_| malformed())?;
        Self::compare(what, Path::new(path), digest)
    }

    fn compare(what: Pinned, path: &Path, digest: blake3::Hash) -> Result<Self, PinError> {
        let (file, found, seen) = hash(what, path)?;
        if found != digest {
            return Err(PinError::Changed { what, path: path.to_owned() });
        }
        Ok(Self { what, path: path.to_owned(), digest, file, seen })
    }

    /// Whether the path still leads to the file that was compared; if not, whether to one with the same digest.
    pub fn still_holds(self) -> Result<Self, PinError> {
        let missing = |error| PinError::Missing { what: self.what, path: self.path.clone(), error };
        let now = Stamp::of(&fs::metadata(&self.path).map_err(missing)?);
        if now == self.seen { Ok(self) } else { Self::compare(self.what, &self.path, self.digest) }
    }

    /// Where it was compared.
    pub fn path(&self) -> &Path {
        &self.path
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
pub fn write(what: Pinned, paths: &Paths, path: &Path) -> Result<Pin, PinError> {
    let missing = |error| PinError::Missing { what, path: path.to_owned(), error };
    let path = fs::canonicalize(path).map_err(missing)?;
    let (file, digest, seen) = hash(what, &path)?;
    let pin = what.file(paths);
    let draft = pin.with_extension("new");
    let line = format!("{}  {}\n", digest.to_hex(), path.display());
    fs::create_dir_all(paths.etc()).map_err(missing)?;
    fs::write(&draft, line).and_then(|()| fs::rename(&draft, &pin)).map_err(missing)?;
    Ok(Pin { what, path, digest, file, seen })
}

fn hash(what: Pinned, path: &Path) -> Result<(File, blake3::Hash, Stamp), PinError> {
    let missing = |error| PinError::Missing { what, path: path.to_owned(), error };
    let file = File::open(path).map_err(missing)?;
    crate::paths::check(path.parent().unwrap_or(Path::new("/")))?;
    let metadata = file.metadata().map_err(missing)?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(PinError::Changed { what, path: path.to_owned() });
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file).map_err(missing)?;
    Ok((file, hasher.finalize(), Stamp::of(&metadata)))
}
