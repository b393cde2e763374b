//! The newest signed head in a file of its own, for whoever carries heads out of this machine's reach.
#![forbid(unsafe_code)]

use crate::paths::Paths;
use closedpaw_ledger::head::SignedHead;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The newest head that the daemon has signed, a few seconds after it has.
pub(crate) fn newest(paths: &Paths) -> PathBuf {
    paths.state().join("head")
}

/// The head that `closedpawd upkeep` published last.
pub(crate) fn published(paths: &Paths) -> PathBuf {
    paths.state().join("head.published")
}

/// A file that holds one head.
#[derive(Debug)]
pub(crate) struct HeadFile {
    file: File,
    size: Option<u64>,
}

impl HeadFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self { file, size: None })
    }

    /// Writes a head, if it is over more records than the last one was: in one write, and no head's line is shorter than
    /// one over fewer records.
    pub(crate) fn write(&mut self, signed: &SignedHead) -> io::Result<()> {
        if self.size == Some(signed.head.size) {
            return Ok(());
        }
        let line = format!("{signed}\n");
        self.file.write_all_at(line.as_bytes(), 0)?;
        self.file.set_len(line.len() as u64)?;
        self.size = Some(signed.head.size);
        Ok(())
    }
}

/// A file that should hold a head and holds something else.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} holds no head; if a power cut explains that, remove it after comparing the heads that clients hold"
)]
pub(crate) struct NotAHead {
    path: PathBuf,
}

/// The head in a file, if there is one. Who needs it checks its signature.
pub(crate) fn read(path: &Path) -> Result<Option<SignedHead>, NotAHead> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| NotAHead { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(NotAHead { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_ledger::head::Head;
    use closedpaw_ledger::tree::Hash;
    use ed25519_dalek::SigningKey;

    #[test]
    fn the_head_written_last_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        assert_eq!(read(&path).unwrap(), None);
        let key = SigningKey::from_bytes(&[7; 32]);
        // The second is what a daemon with a log that was replaced would write: shorter.
        for size in [1_000, 9] {
            let signed = Head { size, root: Hash([3; 32]), time: 1_700_000_000 }.sign(&key);
            HeadFile::open(&path).unwrap().write(&signed).unwrap();
            assert_eq!(read(&path).unwrap(), Some(signed));
        }
        fs::write(&path, "closedpaw-head v1 9 17").unwrap();
        assert!(read(&path).is_err());
    }
}
