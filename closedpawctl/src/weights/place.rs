//! From a source to the final name: the one place that renames, and only after verifying.

#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::{Reason, at};
use super::sources::{Source, Sources};
use super::{FetchError, Progress, Stage, Tried, Weights, digest};

/// Room left over for whoever else writes to this disk meanwhile.
const SPARE: u64 = 64 << 20;

pub(super) fn fetch_to(
    weights: &Weights,
    path: &Path,
    sources: &Sources,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, FetchError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let unusable = |error| FetchError::Folder { path: folder.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let _held = hold(path, progress).map_err(unusable)?;
    let mut tried = Vec::new();
    if path.exists() {
        match digest::verify(weights, path, "the file fetched before", progress) {
            Ok(()) => return Ok(path.to_owned()),
            Err(reason) => {
                fs::remove_file(path).map_err(unusable)?;
                tried.push(Tried { source: format!("the file fetched before, {}", path.display()), reason });
            }
        }
    }
    enough_space(weights, folder)?;
    for source in sources.in_order(weights) {
        match from_source(weights, &source, path, progress) {
            Ok(()) => {
                tidy(path);
                return Ok(path.to_owned());
            }
            Err(reason) => tried.push(Tried { source: source.to_string(), reason }),
        }
    }
    let file = format!("{} of Hugging Face {}", weights.hub.file, weights.hub.repository);
    Err(FetchError::AllFailed { name: weights.name, file, tried })
}

/// One source, whole and verified, under the final name; or nothing there.
fn from_source(
    weights: &Weights,
    source: &Source,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    let unverified = beside(path, source.unverified());
    source.obtain(weights, &unverified, progress)?;
    let verdict = digest::verify(weights, &unverified, &source.to_string(), progress)
        .and_then(|()| settle(&unverified, path).map_err(at(path)));
    if verdict.is_err() {
        // What failed its pin must not be resumed from.
        source.tidy(&unverified);
    }
    verdict
}

/// Nothing half-fetched is of use once the whole is there, whichever source it came from.
fn tidy(path: &Path) {
    for source in Source::every_kind() {
        source.tidy(&beside(path, source.unverified()));
    }
}

/// Read-only, on disk, then the name: nobody sees half of it.
fn settle(unverified: &Path, path: &Path) -> io::Result<()> {
    fs::set_permissions(unverified, Permissions::from_mode(0o400))?;
    File::open(unverified)?.sync_all()?;
    fs::rename(unverified, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// One fetch of these weights at a time; the lock ends with the returned file.
fn hold(path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> io::Result<File> {
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(beside(path, "lock"))?;
    if lock.try_lock().is_err() {
        progress(Progress { source: "another fetch", stage: Stage::Waiting, done: 0, total: 0 });
        lock.lock()?;
    }
    Ok(lock)
}

fn enough_space(weights: &Weights, folder: &Path) -> Result<(), FetchError> {
    let needed = weights.bytes + SPARE;
    match free_space(folder) {
        Ok(free) if free >= needed => Ok(()),
        Ok(free) => Err(FetchError::Space { path: folder.to_owned(), needed, free }),
        Err(error) => Err(FetchError::Folder { path: folder.to_owned(), error }),
    }
}

/// Bytes that this user may still write below the folder.
pub(super) fn free_space(folder: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(folder)?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// `FILE.gguf` becomes `FILE.gguf.SUFFIX`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
