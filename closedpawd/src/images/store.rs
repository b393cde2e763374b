//! The store: what was unpacked, once and for all, and what images are made of.
//!
//! ```text
//! /var/lib/closedpaw-images/            root's alone, 0700
//!   layers/sha256-DIFFID/               one unpacked layer, root's, shared by every image that has it
//!   manifests/sha256-DIGEST             a record: which layers an image is made of
//!   names/NAME                          a link whose target is `sha256-DIGEST`
//!   drafts/NUMBER/                      what is being unpacked
//!   lock                                held while something changes
//! ```
//!
//! Not below `/var/lib/closedpaw`, which is the judge's: whoever owns a folder can put another one in the place of what is in it.
//! Every change is one rename of something that is whole and on the disk; what does not count yet is a draft, which the next change
//! takes away.
#![forbid(unsafe_code)]

use crate::paths::{self, PathError, Paths};
use closedpaw_protocol::image::{BOUNDS, ImageName, Sha256};
use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The longest record: more layers than an image may have do not fit.
const RECORD: u64 = 64 << 10;

/// A record begins so.
const VERSION: &str = "closedpaw image 1";

/// Beneath the folder that is given, through no link.
const PLAIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Seconds since 1970.
    pub(crate) added: u64,
    /// From the lowest up.
    pub(crate) layers: Vec<Layer>,
}

/// One layer of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) digest: Sha256,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// How many entries it had.
    pub(crate) entries: u64,
}

/// Something of the store is not as it was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A folder that others could change.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no such image, layer or name.
    #[error("it is not there")]
    Missing,
    /// Somebody else's, or not what is written here.
    #[error("{0} is not root's record of an image; closedpawd image rm it, and add the image again")]
    Strange(PathBuf),
    /// The disk's word.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// Another one is at work.
    #[error("another closedpawd image is at work; try again when it is done")]
    Locked,
}

impl StoreError {
    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::File(path.to_owned(), error),
        }
    }
}

/// The store, while nobody else changes it.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) store: Store,
    _lock: Flock<File>,
}

/// A digest as a file's name.
pub(crate) fn file_name(digest: Sha256) -> String {
    format!("sha256-{}", digest.digits())
}

/// And back.
fn of_file_name(name: &str) -> Option<Sha256> {
    format!("sha256:{}", name.strip_prefix("sha256-")?).parse().ok()
}

impl Store {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self { folder: paths.images() }
    }

    pub(crate) fn part(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes what is missing, and keeps others from changing it as long as the result lives. What an earlier one has left
    /// unfinished is taken away.
    pub(crate) fn lock(&self) -> Result<Locked, StoreError> {
        for folder in ["", "layers", "manifests", "names", "drafts"] {
            let path = self.part(folder);
            let made = fs::create_dir_all(&path).and_then(|()| {
                let mode = if folder.is_empty() { 0o700 } else { 0o755 };
                fs::set_permissions(&path, Permissions::from_mode(mode))
            });
            made.map_err(StoreError::at(&path))?;
        }
        paths::check(&self.folder)?;
        let path = self.part("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = Flock::lock(file.map_err(StoreError::at(&path))?, FlockArg::LockExclusiveNonblock);
        let locked = Locked { store: self.clone(), _lock: lock.map_err(|_| StoreError::Locked)? };
        let drafts = self.part("drafts");
        for entry in fs::read_dir(&drafts).map_err(StoreError::at(&drafts))?.flatten() {
            fs::remove_dir_all(entry.path()).map_err(StoreError::at(&entry.path()))?;
        }
        Ok(locked)
    }

    /// What an image is made of, if it is here.
    pub(crate) fn record(&self, digest: Sha256) -> Result<Record, StoreError> {
        paths::check(&self.part("manifests")).map_err(|error| match error {
            PathError::Unreadable { ref error, .. } if error.kind() == io::ErrorKind::NotFound => {
                StoreError::Missing
            }
            error => error.into(),
        })?;
        let path = self.part("manifests").join(file_name(digest));
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&path);
        let file = file.map_err(StoreError::at(&path))?;
        let found = file.metadata().map_err(StoreError::at(&path))?;
        let roots = found.is_file() && found.uid() == 0 && found.mode() & 0o022 == 0 && found.len() <= RECORD;
        let mut text = String::new();
        if roots {
            file.take(RECORD).read_to_string(&mut text).map_err(StoreError::at(&path))?;
        }
        Record::parse(&text).ok_or(StoreError::Strange(path))
    }

    /// The layers of an image as folders by descriptor, from the lowest up.
    pub(crate) fn layers(&self, digest: Sha256) -> Result<Vec<OwnedFd>, StoreError> {
        let record = self.record(digest)?;
        let path = self.part("layers");
        paths::check(&path)?;
        let folder = File::open(&path).map_err(StoreError::at(&path))?;
        let open = |layer: &Layer| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat2(&folder, file_name(layer.digest), flags, Mode::empty(), PLAIN)
                .map_err(|error| StoreError::at(&path)(error.into()))
        };
        record.layers.iter().map(open).collect()
    }

    /// Where a layer is, if it is there.
    pub(crate) fn layer(&self, layer: Sha256) -> PathBuf {
        self.part("layers").join(file_name(layer))
    }

    /// Whether a layer is there.
    pub(crate) fn has(&self, layer: Sha256) -> bool {
        self.layer(layer).is_dir()
    }

    /// Every image, with those that cannot be read.
    pub(crate) fn images(&self) -> Vec<(Sha256, Result<Record, StoreError>)> {
        let names = fs::read_dir(self.part("manifests")).into_iter().flatten().flatten();
        let digests = names.filter_map(|entry| of_file_name(entry.file_name().to_str()?));
        let mut all: Vec<_> = digests.map(|digest| (digest, self.record(digest))).collect();
        all.sort_by_key(|(digest, _)| *digest);
        all
    }

    /// What names there are, and of which image each is.
    pub(crate) fn names(&self) -> Vec<(ImageName, Sha256)> {
        let entries = fs::read_dir(self.part("names")).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, of_file_name(target.to_str()?)?))
        };
        let mut all: Vec<_> = entries.filter_map(name).collect();
        all.sort();
        all
    }
}

impl Locked {
    /// A new folder for a worker's layers.
    pub(crate) fn draft(&self) -> Result<PathBuf, StoreError> {
        let path = self.store.part("drafts").join(std::process::id().to_string());
        fs::create_dir(&path).map_err(StoreError::at(&path))?;
        Ok(path)
    }

    /// Puts a layer, which is whole and on the disk, in its place.
    pub(crate) fn put_layer(&self, draft: &Path, layer: Sha256) -> Result<(), StoreError> {
        let place = self.store.layer(layer);
        fs::rename(draft, &place).map_err(StoreError::at(&place))
    }

    /// From here on there is such an image: all of its layers are in their places.
    pub(crate) fn put_record(&self, digest: Sha256, record: &Record) -> Result<(), StoreError> {
        sync(&self.store.part("layers"))?;
        let place = self.store.part("manifests").join(file_name(digest));
        let draft = self.store.part("drafts").join("record");
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&draft)?;
            file.write_all(record.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &place)
        };
        write().map_err(StoreError::at(&place))?;
        sync(&self.store.part("manifests"))
    }

    /// From here on a name is this image's, whosever it was.
    pub(crate) fn put_name(&self, name: &ImageName, digest: Sha256) -> Result<(), StoreError> {
        let place = self.store.part("names").join(name.as_str());
        let draft = self.store.part("drafts").join("name");
        let link = symlink(file_name(digest), &draft).and_then(|()| fs::rename(&draft, &place));
        link.map_err(StoreError::at(&place))?;
        sync(&self.store.part("names"))
    }

    /// Takes a record away. Its layers go with [`Locked::collect`].
    pub(crate) fn take_record(&self, digest: Sha256) -> Result<(), StoreError> {
        let place = self.store.part("manifests").join(file_name(digest));
        fs::remove_file(&place).map_err(StoreError::at(&place))?;
        sync(&self.store.part("manifests"))
    }

    /// Takes names away.
    pub(crate) fn take_names(&self, of: impl Fn(&ImageName, Sha256) -> bool) -> Result<(), StoreError> {
        for (name, _) in self.store.names().iter().filter(|(name, digest)| of(name, *digest)) {
            let place = self.store.part("names").join(name.as_str());
            fs::remove_file(&place).map_err(StoreError::at(&place))?;
        }
        sync(&self.store.part("names"))
    }

    /// Takes away the layers that no image has. A record that cannot be read may name any, so then nothing goes.
    pub(crate) fn collect(&self) -> Result<(usize, u64), StoreError> {
        let mut used = vec![];
        for (_, record) in self.store.images() {
            used.extend(record?.layers.iter().map(|layer| file_name(layer.digest)));
        }
        let folder = self.store.part("layers");
        let (mut count, mut bytes) = (0, 0);
        for entry in fs::read_dir(&folder).map_err(StoreError::at(&folder))?.flatten() {
            if entry.file_name().to_str().is_none_or(|name| used.iter().all(|other| other != name)) {
                // Out of its place first: half of a layer is none.
                let draft = self.store.part("drafts").join("going");
                fs::rename(entry.path(), &draft).map_err(StoreError::at(&entry.path()))?;
                bytes += size(&draft);
                fs::remove_dir_all(&draft).map_err(StoreError::at(&draft))?;
                count += 1;
            }
        }
        Ok((count, bytes))
    }
}

/// Bytes that go with a folder, as far as anybody can say.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let each = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) if found.nlink() <= 1 => found.len(),
        Ok(_) | Err(_) => 0,
    };
    entries.map(each).sum()
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::at(folder))
}

impl Record {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let added = lines.next()?.strip_prefix("added ")?.parse().ok()?;
        let layer = |line: &str| {
            let mut words = line.strip_prefix("layer ")?.split(' ');
            let digest = words.next()?.parse().ok()?;
            let (bytes, entries) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some(Layer { digest, bytes, entries })
        };
        let layers: Vec<Layer> = lines.map(layer).collect::<Option<_>>()?;
        (1..=BOUNDS.layers as usize).contains(&layers.len()).then_some(Self { added, layers })
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{VERSION}\nadded {}", self.added)?;
        self.layers
            .iter()
            .try_for_each(|layer| writeln!(f, "layer {} {} {}", layer.digest, layer.bytes, layer.entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_or_not_at_all() {
        let layer = |digit| Layer { digest: Sha256([digit; 32]), bytes: 3, entries: 4 };
        let record = Record { added: 5, layers: vec![layer(1), layer(2)] };
        let text = record.to_string();
        assert_eq!(Record::parse(&text), Some(record));
        for bad in [
            String::new(),
            VERSION.to_owned(),
            text.replace("image 1", "image 2"),
            text.replace("added", "layer"),
            text.replace(" 3 4", " 3"),
            text.replace(" 3 4", " 3 4 5"),
            text.replace("sha256:01", "../sha256:01"),
            format!("{VERSION}\nadded 5\n"),
        ] {
            assert_eq!(Record::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn an_unfinished_one_holds_no_image_to_more_than_its_layers() {
        let layer = format!("layer {} 0 0\n", Sha256([1; 32]));
        let most = format!("{VERSION}\nadded 5\n{}", layer.repeat(BOUNDS.layers as usize));
        assert!(Record::parse(&most).is_some() && most.len() as u64 <= RECORD);
        assert_eq!(Record::parse(&(most + &layer)), None);
    }
}
