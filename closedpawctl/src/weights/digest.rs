//! Comparing a whole file with its pins.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{Reason, at};
use super::{Progress, Stage, Weights};

const CHUNK: usize = 1 << 20;

/// Reads the file once and compares its size, SHA-256 and BLAKE3 with the pins.
pub(super) fn verify(
    weights: &Weights,
    path: &Path,
    source: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    let mut file = File::open(path).map_err(at(path))?;
    let found = file.metadata().map_err(at(path))?.len();
    if found != weights.bytes {
        return Err(Reason::Size { expected: weights.bytes, found });
    }
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let (mut chunk, mut done) = (vec![0; CHUNK], 0);
    loop {
        let read = file.read(&mut chunk).map_err(at(path))?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        sha256.update(bytes);
        if weights.blake3.is_some() {
            blake3.update(bytes);
        }
        done += bytes.len() as u64;
        progress(Progress { source, stage: Stage::Verifying, done, total: weights.bytes });
    }
    compare("SHA-256", weights.sha256, hex::encode(sha256.finalize()))?;
    weights.blake3.map_or(Ok(()), |pin| compare("BLAKE3", pin, blake3.finalize().to_hex().to_string()))
}

fn compare(kind: &'static str, expected: &'static str, found: String) -> Result<(), Reason> {
    if found == expected { Ok(()) } else { Err(Reason::Digest { kind, expected, found }) }
}
