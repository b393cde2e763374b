//! Root's side of the worker: it is started, answered, and believed for nothing but what is looked at afterwards.
#![forbid(unsafe_code)]

use super::settle::settle;
use super::store::{Layer, Locked, Record, StoreError};
use closedpaw_descriptors::{frames, handover, packet_pair};
use closedpaw_protocol::image::{BOUNDS, Fault, GO, HAVE, NO, SAID, Said, Sha256};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Nobody's uid but the worker's: the first behind those of sandboxes and relays.
pub(crate) const UID: u32 = crate::launcher::RESERVED_END;

/// Why an image was not added.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddError {
    /// There is nothing that could be an image.
    #[error("{path}: {error}")]
    Image { path: PathBuf, error: io::Error },
    /// Its worker cannot be started.
    #[error("{path}: {error}; reinstall closedpaw")]
    Program { path: PathBuf, error: io::Error },
    /// It is not taken.
    #[error("{}{fault}", place(*layer, *entry))]
    Fault { fault: Fault, layer: u32, entry: u64 },
    /// The store's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn place(layer: u32, entry: u64) -> String {
    match (layer, entry) {
        (0, _) => String::new(),
        (layer, 0) => format!("layer {layer}: "),
        (layer, entry) => format!("layer {layer}, entry {entry}: "),
    }
}

impl From<Fault> for AddError {
    fn from(fault: Fault) -> Self {
        Self::Fault { fault, layer: 0, entry: 0 }
    }
}

/// What an image is read from.
enum Image {
    Archive(File),
    /// Its index, and the folder that its parts are in.
    Layout(File, File),
}

impl Image {
    fn open(path: &Path) -> Result<Self, AddError> {
        let fault = |error| AddError::Image { path: path.to_owned(), error };
        // A pipe would keep root waiting.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fault)?;
        let found = file.metadata().map_err(fault)?;
        if found.is_file() {
            return Ok(Self::Archive(file));
        }
        if !found.is_dir() {
            return Err(Fault::NotALayout.into());
        }
        let index = part(&file, "index.json").map_err(|_| Fault::NotALayout)?;
        Ok(Self::Layout(index, file))
    }

    fn blob(&self, digest: Sha256) -> Option<File> {
        match self {
            Self::Archive(_) => None,
            Self::Layout(_, folder) => part(folder, &format!("blobs/sha256/{}", digest.digits())).ok(),
        }
    }
}

/// A file of a layout's: a plain one, at its place.
fn part(folder: &File, name: &str) -> io::Result<File> {
    let plain = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat2(folder, name, flags, Mode::empty(), plain)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) digest: Sha256,
    pub(super) record: Record,
    /// How many of its layers were there before.
    pub(super) shared: usize,
    /// Devices and the like, which nothing was made of.
    pub(super) left_out: u64,
}

/// Has a worker unpack an image, and puts it into the store. `progress` hears of the bytes.
pub(super) fn add(
    locked: &Locked,
    path: &Path,
    program: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Added, AddError> {
    let image = Image::open(path)?;
    let draft = locked.draft()?;
    let added = add_by_way_of(locked, image, &draft, program, progress);
    // What is left there counts for nothing; what cannot be taken away now is when the store is locked again.
    let _ = fs::remove_dir_all(&draft);
    added
}

fn add_by_way_of(
    locked: &Locked,
    image: Image,
    draft: &Path,
    program: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Added, AddError> {
    let file = |error| StoreError::File(draft.to_owned(), error);
    fs::set_permissions(draft, Permissions::from_mode(0o700)).map_err(file)?;
    chown(draft, Some(UID), Some(UID)).map_err(file)?;
    let folder = File::open(draft).map_err(file)?;
    let (socket, mut worker) = start(program, &image, &folder)
        .map_err(|error| AddError::Program { path: program.to_owned(), error })?;
    let mut session = Session { locked, image, unpacked: None, layers: vec![], left_out: 0 };
    let said = session.attend(&socket, progress);
    // Whatever it said, it is over before anybody looks at what it did.
    let _ = worker.kill();
    let _ = worker.wait();
    said?;
    let (digest, wanted) = session.unpacked.ok_or(Fault::Nonsense)?;
    if session.layers.len() != wanted as usize {
        return Err(Fault::Nonsense.into());
    }
    session.keep(draft, &folder, digest)
}

fn start(program: &Path, image: &Image, folder: &File) -> io::Result<(OwnedFd, Child)> {
    let (ours, theirs) = packet_pair()?;
    let (word, source) = match image {
        Image::Archive(file) => ("archive", file),
        Image::Layout(index, _) => ("layout", index),
    };
    let mut command = Command::new(program);
    command.arg(word).env_clear().current_dir("/").uid(UID).gid(UID);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let descriptors = vec![theirs, folder.try_clone()?.into(), source.try_clone()?.into()];
    handover::hand_over(&mut command, descriptors);
    handover::die_with_parent(&mut command);
    let worker = command.spawn()?;
    Ok((ours, worker))
}

/// A layer that the worker has named.
struct Named {
    digest: Sha256,
    /// What it has unpacked of it; nothing if it was there before.
    unpacked: Option<(u64, u64)>,
    shared: bool,
}

/// One conversation.
struct Session<'a> {
    locked: &'a Locked,
    image: Image,
    unpacked: Option<(Sha256, u32)>,
    layers: Vec<Named>,
    left_out: u64,
}

impl Session<'_> {
    /// Answers until it is done.
    fn attend(&mut self, socket: &OwnedFd, progress: &mut dyn FnMut(u64)) -> Result<(), AddError> {
        loop {
            let Ok(Some((bytes, _))) = frames::receive_packet::<SAID>(socket) else {
                return Err(Fault::Ended.into());
            };
            let said = Said::from_bytes(&bytes).map_err(|_| Fault::Nonsense)?;
            let answer = |word: u8, with: &[BorrowedFd<'_>]| {
                frames::send_packet(socket, &[word], with).map_err(|_| Fault::Ended)
            };
            match said {
                Said::Progress { bytes } => progress(bytes),
                Said::Done => return Ok(()),
                Said::Failed { fault, layer, entry } => return Err(AddError::Fault { fault, layer, entry }),
                Said::Blob(digest) => match self.image.blob(digest) {
                    Some(file) => answer(GO, &[file.as_fd()])?,
                    None => answer(NO, &[])?,
                },
                Said::Image { digest, layers } => {
                    if self.unpacked.is_some() || layers == 0 || layers > BOUNDS.layers {
                        return Err(Fault::Nonsense.into());
                    }
                    self.unpacked = Some((digest, layers));
                    answer(GO, &[])?;
                }
                Said::Layer(digest) => answer(self.layer(digest)?, &[])?,
                Said::Unpacked { bytes, entries, left_out } => {
                    let last = self.layers.last_mut().filter(|last| last.unpacked.is_none() && !last.shared);
                    last.ok_or(Fault::Nonsense)?.unpacked = Some((bytes, entries));
                    self.left_out = self.left_out.saturating_add(left_out);
                    answer(GO, &[])?;
                }
            }
        }
    }

    fn layer(&mut self, digest: Sha256) -> Result<u8, Fault> {
        let most = self.unpacked.map_or(0, |(_, layers)| layers as usize);
        let done = self.layers.last().is_none_or(|last| last.shared || last.unpacked.is_some());
        if !done || self.layers.len() >= most {
            return Err(Fault::Nonsense);
        }
        // The same layer may be in an image twice.
        let shared = self.locked.store.has(digest) || self.layers.iter().any(|other| other.digest == digest);
        self.layers.push(Named { digest, unpacked: None, shared });
        Ok(if shared { HAVE } else { GO })
    }

    /// Puts all of it into the store: first the layers, then the record that names them.
    fn keep(self, draft: &Path, folder: &File, digest: Sha256) -> Result<Added, AddError> {
        let (new, _): (Vec<_>, Vec<_>) =
            (1u32..).zip(&self.layers).partition(|(_, layer)| layer.unpacked.is_some());
        for (number, _) in &new {
            settle(&draft.join(number.to_string()))?;
        }
        // Everything of it is on the disk before anything of it counts.
        rustix::fs::syncfs(folder).map_err(|error| StoreError::File(draft.to_owned(), error.into()))?;
        for (number, layer) in &new {
            self.locked.put_layer(&draft.join(number.to_string()), layer.digest)?;
        }
        let known: Vec<Layer> = self
            .locked
            .store
            .images()
            .into_iter()
            .filter_map(|(_, record)| record.ok())
            .flat_map(|record| record.layers)
            .collect();
        let layer = |named: &Named| {
            let new = self.layers.iter().filter(|other| other.digest == named.digest);
            let (bytes, entries) = new
                .filter_map(|other| other.unpacked)
                .next()
                .or_else(|| {
                    let known = known.iter().find(|layer| layer.digest == named.digest);
                    known.map(|layer| (layer.bytes, layer.entries))
                })
                .unwrap_or_else(|| (super::store::size(&self.locked.store.layer(named.digest)), 0));
            Layer { digest: named.digest, bytes, entries }
        };
        let added = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let record = Record { added, layers: self.layers.iter().map(layer).collect() };
        self.locked.put_record(digest, &record)?;
        let shared = self.layers.iter().filter(|layer| layer.shared).count();
        Ok(Added { digest, record, shared, left_out: self.left_out })
    }
}
