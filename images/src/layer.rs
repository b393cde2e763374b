//! A layer, from its tar to its folder.
#![forbid(unsafe_code)]

use crate::tar::{Entry, Kind, Tar};
use crate::tree::{self, Place, Tree};
use closedpaw_protocol::image::{Bounds, Fault};
use std::io::{self, Read, Write};

/// A name that begins so hides another (the OCI image layer specification, "Whiteouts").
const HIDES: &[u8] = b".wh.";

/// And this one all that is in its folder.
const HIDES_ALL: &[u8] = b".wh..wh..opq";

/// What there was of a layer, and of all layers before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Entries.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices, pipes and sockets, which nothing was made of.
    pub left_out: u64,
}

/// What unpacks layers, one after the other, within bounds that are for all of them.
pub struct Unpacker<'a> {
    bounds: &'a Bounds,
    /// What there was so far.
    pub count: Count,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Unpacker<'a> {
    /// Begins; `progress` hears of the bytes, every megabyte or so.
    pub fn new(bounds: &'a Bounds, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { bounds, count: Count::default(), progress }
    }

    /// Unpacks all entries of a tar. Gives what it was read from, whose rest is the caller's to read.
    pub fn unpack<R: Read>(&mut self, source: R, tree: &mut Tree) -> Result<R, Fault> {
        let mut tar = Tar::new(source, self.bounds);
        while let Some(entry) = tar.entry()? {
            self.count.entries += 1;
            if self.count.entries > self.bounds.entries {
                return Err(Fault::EntriesBound);
            }
            self.apply(&entry, &mut tar, tree)?;
        }
        Ok(tar.into_source())
    }

    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut Tar<'_, R>, tree: &mut Tree) -> Result<(), Fault> {
        let place = Place::parse(&entry.path, self.bounds)?;
        if let Some((parent, name)) = place.split() {
            // A whiteout is a file, and nothing is below one.
            if parent.iter().any(|part| part.starts_with(HIDES)) {
                return Err(Fault::BadName);
            }
            if name == HIDES_ALL {
                return tree.hide_all_in(parent);
            }
            match name.strip_prefix(HIDES) {
                Some(b"" | b"." | b"..") => return Err(Fault::BadName),
                // Notes that a filesystem of old kept in layers.
                Some(note) if note.starts_with(HIDES) => return Ok(()),
                Some(hidden) => return tree.hide(&place.beside(hidden)),
                None => {}
            }
        }
        match entry.kind {
            Kind::Folder => tree.folder(&place),
            Kind::File => self.file(entry, &place, tar, tree),
            Kind::Link => tree.link(&place, self.target(entry)?),
            Kind::HardLink => {
                let target = Place::parse(self.target(entry)?, self.bounds);
                tree.hard_link(&place, &target.map_err(|_| Fault::BadHardLink)?)
            }
            Kind::Special => {
                self.count.left_out += 1;
                Ok(())
            }
        }
    }

    fn target<'e>(&self, entry: &'e Entry) -> Result<&'e [u8], Fault> {
        let target = entry.target.as_slice();
        let good = !target.is_empty() && target.len() <= self.bounds.path && !target.contains(&0);
        if good { Ok(target) } else { Err(Fault::BadLink) }
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place,
        tar: &mut Tar<'_, R>,
        tree: &mut Tree,
    ) -> Result<(), Fault> {
        if entry.size > self.bounds.file {
            return Err(Fault::FileBound);
        }
        if self.count.bytes.saturating_add(entry.size) > self.bounds.total {
            return Err(Fault::TotalBound);
        }
        let mut file = tree.file(place, entry.executable)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = tar.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            file.write_all(buffer.get(..read).unwrap_or_default()).map_err(|error| of_write(&error))?;
            let before = self.count.bytes >> 20;
            self.count.bytes += read as u64;
            if self.count.bytes >> 20 != before {
                (self.progress)(self.count.bytes);
            }
        }
        tree::date(&file, entry.modified)
    }
}

fn of_write(error: &io::Error) -> Fault {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    code.map_or(Fault::Write, tree::of_write)
}
