//! Where an image's parts come from: an archive of a layout, or root, who opens the files of a layout's folder by their digests.
#![forbid(unsafe_code)]

use crate::decode::{GZIP, compare};
use crate::tar::{Kind, Tar};
use crate::worker::Root;
use closedpaw_protocol::image::{Bounds, Fault, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// A part of an image: some bytes of a file.
#[derive(Debug)]
pub struct Section {
    file: File,
    at: u64,
    left: u64,
}

impl Section {
    /// All of a file.
    pub fn whole(file: File) -> Self {
        Self { file, at: 0, left: u64::MAX }
    }

    /// The same once more, from its beginning.
    pub fn again(&self) -> Result<Self, Fault> {
        let file = self.file.try_clone().map_err(|_| Fault::Read)?;
        Ok(Self { file, at: self.at, left: self.left })
    }
}

impl Section {
    /// Goes on behind these bytes without reading them.
    fn advance(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
        self.left = self.left.saturating_sub(bytes);
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// What an image is read from.
pub enum Source<'a> {
    /// One file: where its parts are in it, by their names.
    Archive {
        /// The file.
        file: File,
        /// Where its index is.
        index: (u64, u64),
        /// And its other parts.
        blobs: BTreeMap<Sha256, (u64, u64)>,
    },
    /// A folder, of which root opens what it is asked for.
    Folder {
        /// The index.
        index: File,
        /// Whom to ask.
        root: &'a Root,
    },
}

impl Source<'_> {
    /// Looks through an archive once. What is no part of a layout is left alone; of several parts of one name the last counts, as
    /// it would if it were unpacked.
    pub fn archive(file: File, bounds: &Bounds) -> Result<Self, Fault> {
        let mut start = [0; 4];
        let read = file.read_at(&mut start, 0).map_err(|_| Fault::Read)?;
        let start = start.get(..read).unwrap_or_default();
        if start.starts_with(&GZIP) || start == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(Fault::Compressed);
        }
        let copy = file.try_clone().map_err(|_| Fault::Read)?;
        let (mut index, mut blobs, mut seen) = (None, BTreeMap::new(), 0);
        let mut tar = Tar::new(Section::whole(copy), bounds);
        while let Some(entry) = tar.entry().map_err(|fault| not_a_layout(fault, seen))? {
            seen += 1;
            if seen > bounds.blobs {
                return Err(Fault::BlobsBound);
            }
            let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
            let place = (tar.source().at, entry.size);
            let content = tar.pass_over();
            tar.source().advance(content);
            let blob =
                name.strip_prefix(b"blobs/sha256/").and_then(|digits| std::str::from_utf8(digits).ok());
            let blob = blob.and_then(|digits| format!("sha256:{digits}").parse().ok());
            match (entry.kind, blob) {
                (Kind::File, Some(digest)) => drop(blobs.insert(digest, place)),
                (Kind::File, None) if name == b"index.json" => index = Some(place),
                _ => {}
            }
        }
        Ok(Self::Archive { file, index: index.ok_or(Fault::NotALayout)?, blobs })
    }

    /// Its index, which nothing but the admin's word stands for.
    pub fn index(&self, bounds: &Bounds) -> Result<Vec<u8>, Fault> {
        let section = match self {
            Self::Archive { file, index, .. } => section(file, *index)?,
            Self::Folder { index, .. } => Section::whole(index.try_clone().map_err(|_| Fault::Read)?),
        };
        let mut bytes = vec![];
        let most = bounds.json + 1;
        section.take(most).read_to_end(&mut bytes).map_err(|_| Fault::Read)?;
        if bytes.len() as u64 == most { Err(Fault::JsonBound) } else { Ok(bytes) }
    }

    /// A part that was not compared yet.
    pub fn blob(&self, digest: Sha256) -> Result<Section, Fault> {
        match self {
            Self::Archive { file, blobs, .. } => section(file, *blobs.get(&digest).ok_or(Fault::NoBlob)?),
            Self::Folder { root, .. } => Ok(Section::whole(root.blob(digest)?)),
        }
    }

    /// A part that is small, compared.
    pub fn small(&self, digest: Sha256, size: u64, bounds: &Bounds) -> Result<Vec<u8>, Fault> {
        if size > bounds.json {
            return Err(Fault::JsonBound);
        }
        let mut bytes = vec![];
        compare(self.blob(digest)?, size, digest, |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }
}

/// What is broken from its first block on was never an archive.
fn not_a_layout(fault: Fault, seen: usize) -> Fault {
    if fault == Fault::BadTar && seen == 0 { Fault::NotALayout } else { fault }
}

fn section(file: &File, (at, left): (u64, u64)) -> Result<Section, Fault> {
    Ok(Section { file: file.try_clone().map_err(|_| Fault::Read)?, at, left })
}
