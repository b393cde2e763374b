//! The worker: one image from its index to its layers' folders, and then its end.
#![forbid(unsafe_code)]

use crate::confine::confine;
use crate::decode::{Unpacked, compare};
use crate::layer::{Count, Unpacker};
use crate::oci::{self, Configuration, Descriptor, Index, Manifest};
use crate::source::{Section, Source};
use crate::tree::Tree;
use closedpaw_descriptors::{frames, handover};
use closedpaw_protocol::image::{BOUNDS, Bounds, Fault, GO, HAVE, SAID, Said, Sha256};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

/// The socket to root.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Says something that is answered.
    fn ask(&self, said: Said) -> Result<(u8, Vec<OwnedFd>), Fault> {
        self.say(said)?;
        match frames::receive_packet::<1>(&self.0) {
            Ok(Some(([answer], descriptors))) => Ok((answer, descriptors)),
            Ok(None) | Err(_) => Err(Fault::Ended),
        }
    }

    fn say(&self, said: Said) -> Result<(), Fault> {
        let bytes: [u8; SAID] = said.to_bytes();
        frames::send_packet(&self.0, &bytes, &[]).map_err(|_| Fault::Ended)
    }

    /// A part of the layout's folder.
    pub(crate) fn blob(&self, digest: Sha256) -> Result<File, Fault> {
        match self.ask(Said::Blob(digest))? {
            (GO, descriptors) => descriptors.into_iter().next().map(File::from).ok_or(Fault::NoBlob),
            (_, _) => Err(Fault::NoBlob),
        }
    }
}

/// Where it was when it gave up.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    layer: u32,
    entry: u64,
}

/// Started with a socket to root as 3, an empty folder as 4, and an archive or a layout's index as 5; the word says which.
pub fn main() -> ExitCode {
    let archive = match std::env::args().nth(1).as_deref() {
        Some("archive") => true,
        Some("layout") => false,
        _ => return ExitCode::from(64),
    };
    let [Ok(root), Ok(folder), Ok(image)] = [3, 4, 5].map(handover::take_over) else {
        return ExitCode::from(64);
    };
    let root = Root(root);
    let mut at = At::default();
    let done = match confine(folder.as_fd(), &BOUNDS) {
        Ok(()) => work(&root, &folder, image.into(), archive, &mut at),
        Err(_) => Err(Fault::Confinement),
    };
    let last = match done {
        Ok(()) => Said::Done,
        Err(fault) => Said::Failed { fault, layer: at.layer, entry: at.entry },
    };
    if root.say(last).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(root: &Root, folder: &OwnedFd, image: File, archive: bool, at: &mut At) -> Result<(), Fault> {
    let bounds = &BOUNDS;
    let source = match archive {
        true => Source::archive(image, bounds)?,
        false => Source::Folder { index: image, root },
    };
    let manifest = manifest(&source, bounds)?;
    let config = &manifest.image.config;
    let config: Configuration = oci::parse(&source.small(config.digest()?, config.size, bounds)?)?;
    let layers = config.layers()?;
    if layers.len() != manifest.image.layers.len() {
        return Err(Fault::BadJson);
    }
    let count = u32::try_from(layers.len()).map_err(|_| Fault::LayersBound)?;
    root.ask(Said::Image { digest: manifest.digest, layers: count })?;
    // Nobody waits for these.
    let mut progress = |bytes| {
        let _ = root.say(Said::Progress { bytes });
    };
    let mut unpacker = Unpacker::new(bounds, &mut progress);
    for ((layer, descriptor), number) in layers.into_iter().zip(&manifest.image.layers).zip(1..) {
        *at = At { layer: number, entry: 0 };
        let before = unpacker.count;
        let (digest, size) = (descriptor.digest()?, descriptor.size);
        let blob = source.blob(digest)?;
        compare(blob.again()?, size, digest, |_| ())?;
        if root.ask(Said::Layer(layer))?.0 == HAVE {
            continue;
        }
        let unpacked = one(&mut unpacker, blob, layer, folder, number);
        let entries = unpacker.count.entries - before.entries;
        // A digest is of all of it, not of its last entry.
        let of_one = unpacked.is_err_and(|fault| fault != Fault::LayerDigest);
        *at = At { layer: number, entry: if of_one { entries } else { 0 } };
        unpacked?;
        let Count { bytes, left_out, .. } = unpacker.count;
        let (bytes, left_out) = (bytes - before.bytes, left_out - before.left_out);
        root.ask(Said::Unpacked { bytes, entries, left_out })?;
    }
    Ok(())
}

/// Unpacks one layer into the folder of its number.
fn one(
    unpacker: &mut Unpacker<'_>,
    blob: Section,
    layer: Sha256,
    folder: &OwnedFd,
    number: u32,
) -> Result<(), Fault> {
    let mut tree = Tree::make(folder.as_fd(), &number.to_string())?;
    // A tar is a little more than what it holds: a header for each entry.
    let headers = BOUNDS.entries.saturating_mul(1024);
    let left = BOUNDS.total.saturating_sub(unpacker.count.bytes).saturating_add(headers);
    let unpacked = Unpacked::new(blob, left, &BOUNDS)?;
    unpacker.unpack(unpacked, &mut tree)?.finish(layer)
}

/// A manifest with its digest, which is the image's name.
struct Found {
    digest: Sha256,
    image: Manifest,
}

/// The one manifest for this machine: in the index, or in an index that it names.
fn manifest(source: &Source<'_>, bounds: &Bounds) -> Result<Found, Fault> {
    let read = |one: &Descriptor| source.small(one.digest()?, one.size, bounds);
    let mut one = oci::parse::<Index>(&source.index(bounds)?)?.only()?;
    if one.is_index() {
        one = oci::parse::<Index>(&read(&one)?)?.only()?;
    }
    if one.is_index() {
        return Err(Fault::BadJson);
    }
    let image: Manifest = oci::parse(&read(&one)?)?;
    image.check(bounds.layers)?;
    Ok(Found { digest: one.digest()?, image })
}
