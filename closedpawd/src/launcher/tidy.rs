//! What is cleared away now and then: at every reload, which a timer of the system's asks for.
#![forbid(unsafe_code)]

use super::image;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// How long the runtime's log may grow, in bytes. What it says matters on the day it says it.
const LOG: u64 = 4 << 20;

/// Takes away root filesystems that no sandbox uses: the next one gets a new one, with the loader's cache and the links
/// to programs as the host has them by then.
pub(super) fn root_filesystems(run: &Path, used: &[PathBuf]) {
    let Ok(entries) = fs::read_dir(run.join("rootfs")) else { return };
    let unused = entries.flatten().map(|entry| entry.path()).filter(|path| !used.contains(path));
    for path in unused {
        image::let_go(&path);
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

/// Keeps the end of the runtime's log in another file when it has become long, and empties it. The runtimes of running
/// sandboxes hold it open and append.
pub(super) fn runtime_log(log: &Path) -> io::Result<()> {
    if fs::metadata(log)?.len() <= LOG {
        return Ok(());
    }
    let mut name = OsString::from(log);
    name.push(".old");
    fs::copy(log, name)?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_root_filesystem_in_use_stays() {
        let run = tempfile::tempdir().unwrap();
        let [used, unused] = ["1000-1000", "1001-1001"].map(|name| run.path().join("rootfs").join(name));
        for folder in [&used, &unused] {
            fs::create_dir_all(folder.join("etc")).unwrap();
        }
        root_filesystems(run.path(), std::slice::from_ref(&used));
        assert!(used.join("etc").is_dir() && !unused.exists());
    }

    #[test]
    fn a_long_log_is_put_aside_and_whoever_holds_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("runsc.log");
        let mut held = OpenOptions::new().append(true).create(true).open(&log).unwrap();
        held.write_all(b"short\n").unwrap();
        runtime_log(&log).unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"short\n");
        held.write_all(&vec![b'x'; usize::try_from(LOG).unwrap()]).unwrap();
        runtime_log(&log).unwrap();
        held.write_all(b"on\n").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"on\n");
        assert!(fs::read(folder.path().join("runsc.log.old")).unwrap().starts_with(b"short\nxxx"));
    }
}
