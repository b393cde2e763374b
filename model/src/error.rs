//! Why the program ends, and with which exit code (sysexits.h).

#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

/// A reason to end. Its first word is stable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no weights where they should be.
    #[error("weights-missing: {}: {error}\nNext: closedpawctl model fetch", path.display())]
    WeightsMissing {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The weights are not those that are pinned. Nothing of them was parsed.
    #[error("weights-digest: {}: BLAKE3 expected {expected}, found {found}\nNext: remove the file, then closedpawctl model fetch", path.display())]
    WeightsDigest {
        /// The path given.
        path: PathBuf,
        /// The pin.
        expected: String,
        /// What the bytes hash to.
        found: String,
    },
    /// llama.cpp could not load the verified weights.
    #[error("weights-load: {}: {reason}", path.display())]
    WeightsLoad {
        /// The path given.
        path: PathBuf,
        /// What was wrong with them, or with the memory for them.
        reason: String,
    },
    /// The kernel cannot confine this program, so it does not run.
    #[error(
        "confinement: {step}: {reason}\nNext: use Linux 6.12 or later with Landlock enabled (lsm=landlock)"
    )]
    Confinement {
        /// Which part.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// The socket's folder belongs to others or is open to them.
    #[error("socket-folder: {} must be a folder of your own with mode 0700", path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Another process answers on this socket.
    #[error("socket-in-use: a model is already listening on {}", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The socket could not be made or taken over.
    #[error("socket: {what}: {error}")]
    Socket {
        /// The path or the descriptor.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The system gave no thread, timer or event queue.
    #[error("start: {0}")]
    Start(io::Error),
}

impl Error {
    /// Stable; 64 is kept for a command line that cannot be understood.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WeightsDigest { .. } => 65,                     // EX_DATAERR
            Self::WeightsMissing { .. } => 66,                    // EX_NOINPUT
            Self::Confinement { .. } => 69,                       // EX_UNAVAILABLE
            Self::WeightsLoad { .. } => 70,                       // EX_SOFTWARE
            Self::Start(_) => 71,                                 // EX_OSERR
            Self::SocketInUse { .. } | Self::Socket { .. } => 73, // EX_CANTCREAT
            Self::SocketFolder { .. } => 77,                      // EX_NOPERM
        }
    }
}
