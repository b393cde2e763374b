//! The weights: opened, and compared with their pin before a byte of them is parsed.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::confine::Confined;
use crate::error::Error;

/// BLAKE3 of Qwen2.5-Coder-0.5B-Instruct Q4_K_M, the default.
pub const DEFAULT_PIN: &str = "e910cab26ae116eb714dbce67c63250cc836a65f26db4b3452fde909aa55f7ba";

/// Weights that are there and can be read; nothing of them was.
#[derive(Debug)]
pub struct Opened {
    file: File,
    path: PathBuf,
}

impl Opened {
    /// Opens the weights.
    ///
    /// # Errors
    /// There are none, or they are no ordinary file.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let missing = |error| Error::WeightsMissing { path: path.to_owned(), error };
        let file = File::open(path).map_err(missing)?;
        if !file.metadata().map_err(missing)?.is_file() {
            return Err(missing(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// The open file, which names the one inode that may be read from now on.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Weights whose digest is the pin's, in a process that is confined.
///
/// They are loaded by path. What stands there is the same file: Landlock allows this inode alone.
#[derive(Debug)]
pub struct Verified {
    path: PathBuf,
}

impl Verified {
    /// Reads all of the weights once and compares.
    ///
    /// # Errors
    /// They are other bytes than the pinned ones.
    pub fn new(confined: Confined, pin: &str) -> Result<Self, Error> {
        let Opened { mut file, path } = confined.into_weights();
        let found = match blake3_of(&mut file) {
            Ok(found) => found,
            Err(error) => return Err(Error::WeightsMissing { path, error }),
        };
        if found == pin {
            Ok(Self { path })
        } else {
            Err(Error::WeightsDigest { path, expected: pin.to_owned(), found })
        }
    }

    /// Where they stand.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's id: its file's name without the digest that `closedpawctl` appends.
    #[must_use]
    pub fn model_id(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        match stem.rsplit_once('-') {
            Some((name, digest)) if digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
                name.to_owned()
            }
            Some(_) | None => stem.into_owned(),
        }
    }
}

fn blake3_of(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut chunk)?;
        match chunk.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            Some(_) | None => return Ok(hasher.finalize().to_hex().to_string()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_name_without_the_digest() {
        let id = |path: &str| Verified { path: path.into() }.model_id();
        assert_eq!(
            id("/c/qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf"),
            "qwen2.5-coder-0.5b-instruct-q4_k_m"
        );
        assert_eq!(id("/c/other-instruct.gguf"), "other-instruct");
    }

    #[test]
    fn a_folder_is_no_weights() {
        assert!(matches!(Opened::new(Path::new("/")), Err(Error::WeightsMissing { .. })));
        assert!(matches!(Opened::new(Path::new("/nonexistent")), Err(Error::WeightsMissing { .. })));
    }

    #[test]
    fn a_file_is_hashed_whole() {
        let path = tempfile::tempdir().unwrap().keep().join("three-mib");
        std::fs::write(&path, vec![7; (3 << 20) + 1]).unwrap();
        let expected = blake3::hash(&vec![7; (3 << 20) + 1]).to_hex().to_string();
        assert_eq!(blake3_of(&mut File::open(path).unwrap()).unwrap(), expected);
    }
}
