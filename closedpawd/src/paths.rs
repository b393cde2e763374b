//! Where everything lives, and that nobody but root could have put it there.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The daemon's folders, all under one root.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

/// A folder that somebody else than root could change.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// It cannot be looked at.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It belongs to somebody.
    #[error("{path} belongs to uid {uid}, not to root: whoever owns it could swap the policy")]
    NotRoots {
        /// Which.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Others may write to it.
    #[error("{path} can be written by others (mode {mode:o}): whoever can could swap the policy")]
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not an absolute path, or is a link, or not a folder.
    #[error("{path} is not an absolute path of plain folders")]
    NotPlain {
        /// Which.
        path: PathBuf,
    },
}

impl Paths {
    /// The folders under `root`, which must be root's all the way up and writable by nobody else.
    pub fn under(root: &Path) -> Result<Self, PathError> {
        check(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// `/etc/closedpaw`: policy, profiles, keys, pins.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/closedpaw")
    }

    /// `/run/closedpaw`: the socket, bundles, the runtime's own state.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/closedpaw")
    }

    /// What the runtime says of itself.
    pub fn runtime_log(&self) -> PathBuf {
        self.run().join("runsc.log")
    }

    /// `/var/lib/closedpaw`: what outlives a restart.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/closedpaw")
    }

    /// `/var/lib/closedpaw-images`: root's alone, and so not below the judge's folder.
    pub fn images(&self) -> PathBuf {
        self.root.join("var/lib/closedpaw-images")
    }

    /// `/var/log/closedpaw/audit`.
    pub fn audit(&self) -> PathBuf {
        self.root.join("var/log/closedpaw/audit")
    }

    /// The socket that clients connect to.
    pub fn socket(&self) -> PathBuf {
        self.run().join("closedpawd.sock")
    }

    /// The daemon's public key, for clients to pin.
    pub fn daemon_public(&self) -> PathBuf {
        self.etc().join("daemon.pub")
    }

    /// The daemon's private key, readable by the judge alone.
    pub fn daemon_key(&self) -> PathBuf {
        self.state().join("daemon.key")
    }

    /// The pinned runtime: a line as `b3sum` prints and checks it.
    pub fn runtime_pin(&self) -> PathBuf {
        self.etc().join("runtime.b3")
    }

    /// The same for Kata Containers' shim, where there is one.
    pub fn kata_pin(&self) -> PathBuf {
        self.etc().join("kata.b3")
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Checks that `path` and every folder above it is a plain folder of root's that nobody else can write to.
pub fn check(path: &Path) -> Result<(), PathError> {
    if !path.is_absolute() || path.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(PathError::NotPlain { path: path.to_owned() });
    }
    path.ancestors().try_for_each(check_one)
}

fn check_one(path: &Path) -> Result<(), PathError> {
    let owned = path.to_owned();
    let metadata =
        fs::symlink_metadata(path).map_err(|error| PathError::Unreadable { path: owned.clone(), error })?;
    if !metadata.is_dir() {
        Err(PathError::NotPlain { path: owned })
    } else if metadata.uid() != 0 {
        Err(PathError::NotRoots { path: owned, uid: metadata.uid() })
    } else if metadata.mode() & 0o022 != 0 {
        Err(PathError::Writable { path: owned, mode: metadata.mode() & 0o7777 })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row K7: `--root` in a person's folder, or in one that everybody can write to.
    #[test]
    fn a_root_that_others_can_change_is_refused() {
        assert!(matches!(check(Path::new("/tmp")), Err(PathError::Writable { .. })));
        assert!(matches!(check(Path::new("usr")), Err(PathError::NotPlain { .. })));
        assert!(matches!(check(Path::new("/usr/../tmp")), Err(PathError::NotPlain { .. })));
        assert!(matches!(check(Path::new("/nowhere/at/all")), Err(PathError::Unreadable { .. })));
        assert!(check(Path::new("/usr")).is_ok());
    }
}
