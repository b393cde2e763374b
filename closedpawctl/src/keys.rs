//! The person's approver key: a file that only its owner can read.
#![forbid(unsafe_code)]

use crate::client::{fresh_key, key_id};
use crate::failure::Failure;
use crate::places;
use closedpaw_protocol::KeyId;
use ed25519_dalek::SigningKey;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where it lies.
pub fn path() -> PathBuf {
    places::config().join("approver.key")
}

/// Reads it; refuses one that others could have read.
pub fn load() -> Result<SigningKey, Failure> {
    let path = path();
    let metadata = fs::metadata(&path).map_err(|error| {
        Failure::new(
            "no-key",
            66,
            format!("{}: {error}", path.display()),
            "make one: closedpawctl key generate; then, as root: closedpawctl key enroll",
        )
    })?;
    if metadata.mode() & 0o077 != 0 || metadata.uid() != nix::unistd::getuid().as_raw() {
        return Err(Failure::new(
            "key-open",
            77,
            format!("{} can be read by others", path.display()),
            "chmod 600 it, or better: make a new one and revoke the old",
        ));
    }
    let text = fs::read_to_string(&path).map_err(|error| Failure::file(&path, error))?;
    let seed: KeyId = text.trim().parse().map_err(|error| Failure::file(&path, error))?;
    Ok(SigningKey::from_bytes(&seed.0))
}

/// Makes one, never over another.
pub fn generate() -> Result<KeyId, Failure> {
    let path = path();
    if path.exists() {
        return Err(Failure::new(
            "key-exists",
            73,
            format!("{} is there already", path.display()),
            "use it, or move it away first",
        ));
    }
    let key = fresh_key()?;
    let seed = KeyId(key.to_bytes());
    places::write_private(&path, format!("{seed}\n").as_bytes())
        .map_err(|error| Failure::file(&path, error))?;
    Ok(key_id(&key))
}
