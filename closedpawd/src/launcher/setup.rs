//! What has to stand before the judge starts: folders, key, socket, a mount table of our own.
#![forbid(unsafe_code)]

use crate::accounts::Account;
use crate::paths::{PathError, Paths};
use closedpaw_confine::floor;
use ed25519_dalek::SigningKey;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not run by root.
    #[error("closedpawd must be started by root: sudo closedpawd, or systemctl enable --now closedpawd")]
    NotRoot,
    /// The kernel is too old.
    #[error("Linux {found} is too old: Landlock's scopes and descriptors of peers need {}.{} or newer (Debian 13 has it)", floor::KERNEL.0, floor::KERNEL.1)]
    Kernel {
        /// What `uname -r` says.
        found: String,
    },
    /// The judge's account.
    #[error("{0}")]
    Account(io::Error),
    /// A folder that others could change.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Something that could not be made.
    #[error("{what}: {error}")]
    Make {
        /// What.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A program of ours is not where it belongs.
    #[error("{path} is missing; reinstall closedpaw")]
    Program {
        /// Which.
        path: PathBuf,
    },
    /// Capabilities could not be given up.
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// The judge ended before it was ready; it has said why.
    #[error("the judge did not start")]
    Judge,
}

impl SetupError {
    /// After sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotRoot => 77,
            Self::Kernel { .. } | Self::Program { .. } => 69,
            Self::Account(_) | Self::Path(_) | Self::Judge => 78,
            Self::Make { .. } => 73,
            Self::Capabilities(_) => 70,
        }
    }

    pub(super) fn make(what: impl Into<String>, error: impl Into<io::Error>) -> Self {
        Self::Make { what: what.into(), error: error.into() }
    }
}

pub(super) fn check_root() -> Result<(), SetupError> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(SetupError::NotRoot) }
}

/// Refuses a kernel older than the floor; `release` is what `uname -r` prints.
pub fn check_kernel(release: &str) -> Result<(), SetupError> {
    if floor::reached(release) { Ok(()) } else { Err(SetupError::Kernel { found: release.to_owned() }) }
}

/// A mount table of our own: what we mount is seen by the sandboxes we start and by nobody else.
pub(super) fn private_mounts() -> Result<(), SetupError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| SetupError::make("unshare(CLONE_NEWNS)", error))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|error| SetupError::make("making mounts private", error))
}

/// The folders under the root, with the owners and modes that keep everybody else out.
pub(super) fn folders(paths: &Paths, judge: Account) -> Result<(), SetupError> {
    let root = Account { uid: 0, gid: 0 };
    let group = Account { uid: 0, gid: judge.gid };
    for (path, owner, mode) in [
        (paths.etc(), root, 0o755),
        (paths.etc().join("policy.d"), root, 0o755),
        (paths.etc().join("profiles.d"), root, 0o755),
        (paths.etc().join("keys.d"), root, 0o755),
        (paths.run(), group, 0o755),
        (paths.run().join("sandboxes"), root, 0o711),
        (paths.run().join("runsc"), root, 0o700),
        (paths.state(), judge, 0o700),
        (paths.audit(), judge, 0o700),
    ] {
        folder(&path, owner, mode)?;
    }
    // Made here, because a sandbox's runtime would make it its own, and the next one's could not write to it.
    let log = paths.runtime_log();
    let made = fs::OpenOptions::new().append(true).create(true).mode(0o640).open(&log);
    made.map_err(|error| SetupError::make(log.display().to_string(), error))?;
    crate::paths::check(&paths.etc())?;
    Ok(())
}

fn folder(path: &Path, owner: Account, mode: u32) -> Result<(), SetupError> {
    let make = || {
        fs::create_dir_all(path)?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    make().map_err(|error| SetupError::make(path.display().to_string(), error))
}

/// What the daemon's key is called among a service's credentials (systemd.exec(5)).
const CREDENTIAL: &str = "closedpawd.daemon-key";

/// The daemon's key, opened for the judge: the service's credential, or a file made at the first start. The public half
/// goes where clients pin it.
pub(super) fn daemon_key(paths: &Paths, judge: Account) -> Result<File, SetupError> {
    let sealed = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL));
    let sealed = sealed.filter(|path| path.exists());
    let path = sealed.clone().unwrap_or_else(|| paths.daemon_key());
    if sealed.is_none() && !path.exists() {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| SetupError::make("random numbers", io::Error::other(error)))?;
        write_new(&path, hex::encode(seed).as_bytes(), 0o400, judge)?;
    }
    let unreadable = |error| SetupError::make(path.display().to_string(), error);
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|error| SetupError::make(path.display().to_string(), io::Error::other(error)))?;
    let public = hex::encode(SigningKey::from_bytes(&seed).verifying_key().to_bytes()) + "\n";
    let pinned = paths.daemon_public();
    if !fs::read_to_string(&pinned).is_ok_and(|text| text == public) {
        drop(fs::remove_file(&pinned));
        write_new(&pinned, public.as_bytes(), 0o444, Account { uid: 0, gid: 0 })?;
    }
    File::open(&path).map_err(unreadable)
}

fn write_new(path: &Path, content: &[u8], mode: u32, owner: Account) -> Result<(), SetupError> {
    let write = || {
        let draft = path.with_extension("new");
        drop(fs::remove_file(&draft));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(content)?;
        chown(&draft, Some(owner.uid), Some(owner.gid))?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|error| SetupError::make(path.display().to_string(), error))
}

/// The listening socket: systemd's, or one of our own that the group `closedpaw` may connect to.
pub(super) fn socket(
    paths: &Paths,
    judge: Account,
    activated: Option<OwnedFd>,
) -> Result<OwnedFd, SetupError> {
    if let Some(socket) = activated {
        return Ok(socket);
    }
    let path = paths.socket();
    let listen = || {
        drop(fs::remove_file(&path));
        let listener = UnixListener::bind(&path)?;
        chown(&path, Some(0), Some(judge.gid))?;
        fs::set_permissions(&path, Permissions::from_mode(0o660))?;
        Ok(OwnedFd::from(listener))
    };
    listen().map_err(|error: io::Error| SetupError::make(path.display().to_string(), error))
}

/// The programs that are started by the launcher.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) init: PathBuf,
    pub(super) relay: PathBuf,
    /// What makes sandboxes of namespaces. It may be missing: then there is no such tier.
    pub(super) process: PathBuf,
    /// What drives a shim. It may be missing, too.
    pub(super) shim: PathBuf,
}

impl Programs {
    /// In `../libexec/closedpaw` beside the daemon's own folder, root's all the way up.
    pub(super) fn find() -> Result<Self, SetupError> {
        let folder = libexec().map_err(|error| SetupError::make("own path", error))?;
        crate::paths::check(&folder)?;
        let program = |name: &str| {
            let path = folder.join(name);
            if path.is_file() { Ok(path) } else { Err(SetupError::Program { path }) }
        };
        Ok(Self {
            init: program("closedpaw-init")?,
            relay: program("closedpaw-relay")?,
            process: folder.join(PROCESS),
            shim: folder.join(SHIM),
        })
    }
}

/// The program of the tier `process`.
pub(super) const PROCESS: &str = "closedpaw-process";

/// The program of the tier `kata`.
pub(super) const SHIM: &str = "closedpaw-shim";

/// Where our programs are that nobody calls by hand: `../libexec/closedpaw` beside the daemon's own folder.
pub(crate) fn libexec() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let prefix = own.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    Ok(prefix.join("libexec/closedpaw"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_below_the_floor_is_refused_by_name() {
        for good in ["6.12.0", "6.12.48+deb13-amd64", "6.18.44-fc-v669", "7.0", "10.1-rc1"] {
            assert!(check_kernel(good).is_ok(), "{good}");
        }
        for bad in ["6.11.9", "6.1.0-37-amd64", "5.15", "4.4.0", "six", "", "6"] {
            let error = check_kernel(bad).unwrap_err();
            assert_eq!(error.exit_code(), 69);
            assert!(error.to_string().contains("6.12"), "{error}");
        }
    }
}
