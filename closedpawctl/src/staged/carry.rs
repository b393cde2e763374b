//! Carrying single paths over: each is the old one or the new one at every moment, whatever happens to this process.
//!
//! The new one is made beside its place under a name of the journal's and brought to disk; then one rename puts it there.
//! What was there before comes out of the same rename, and only if it is what was shown is it thrown away.
#![forbid(unsafe_code)]

use super::node::{self, Kind, Node, Stamp, digest_of};
use super::place::{Place, open_beneath};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fstat, fsync, linkat, mkdirat, renameat, renameat_with,
    symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// From so many files on, one sync of the whole filesystem is less work than one for each.
const MANY: usize = 32;

/// Why what was staged is not carried over.
const CHANGED: &str = "what was staged has changed since it was shown";

/// The most new files that lie beside their places at a time.
const BATCH: usize = 4096;

/// A path with what must be there, and what is to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which.
    pub place: Place,
    /// What is there.
    pub before: Option<Node>,
    /// What is to be there.
    pub after: Option<Node>,
}

impl Step {
    /// The way back.
    pub fn reversed(self) -> Self {
        Self { place: self.place, before: self.after, after: self.before }
    }
}

/// The order in which paths can be carried over: what goes, from the inside out; then what comes, from the outside in.
pub fn in_order(steps: &[Step]) -> Vec<usize> {
    let (mut going, mut coming): (Vec<usize>, Vec<usize>) =
        (0..steps.len()).partition(|index| steps.get(*index).is_some_and(|step| step.after.is_none()));
    let place = |index: &usize| steps.get(*index).map(|step| step.place.clone());
    going.sort_by_key(|index| std::cmp::Reverse(place(index)));
    coming.sort_by_key(place);
    going.append(&mut coming);
    going
}

/// Why a path is not carried over, in words for the person; or that everything stops.
#[derive(Debug)]
pub enum Left {
    /// This one alone.
    Refused(String),
    /// All that is left.
    Stopped,
}

impl From<io::Error> for Left {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Refused("it, or the folder it is in, is not there".to_owned()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<Errno> for Left {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

fn refused<T>(why: &str) -> Result<T, Left> {
    Err(Left::Refused(why.to_owned()))
}

/// Asked before each thing that is done: whether to go on.
pub type GoOn<'a> = &'a mut dyn FnMut() -> bool;

/// Where new content comes from.
pub trait Source {
    /// A file's content.
    fn file(&self, index: usize, step: &Step) -> io::Result<File>;
    /// A link's text.
    fn link(&self, index: usize, step: &Step) -> io::Result<Vec<u8>>;
    /// Where the same file is already, of which this is another name.
    fn other_name(&self, _: usize) -> Option<&Place> {
        None
    }
}

/// What is being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A folder of the person's, who may be working in it.
    Folder,
    /// The layer of a session in which nothing runs yet. What leads out of it leads nowhere from there, nobody else changes it,
    /// and it is thrown away if anything goes wrong; but an overlay moves no folder that lies below it (rename(2), EXDEV).
    Layer,
}

/// The workspace as the session saw it.
pub struct Merged<'a>(pub &'a OwnedFd);

impl Source for Merged<'_> {
    fn file(&self, _: usize, step: &Step) -> io::Result<File> {
        let folder = step.place.open_folder(self.0)?;
        let stamp = Stamp::of(&folder, step.place.name())?.ok_or(io::ErrorKind::NotFound)?;
        node::open(&folder, step.place.name(), &stamp)
    }

    fn link(&self, _: usize, step: &Step) -> io::Result<Vec<u8>> {
        node::link_text(&step.place.open_folder(self.0)?, step.place.name())
    }
}

/// A workspace that is being changed, under one tag for all names that are made on the way.
pub struct Carrier<'a> {
    target: Target,
    root: &'a OwnedFd,
    tag: &'a str,
    /// Folders whose bits are set last, because something may still have to be made in them.
    modes: Vec<(Place, u32)>,
}

/// The name beside its place under which a path is made, or taken away.
pub fn beside(tag: &str, index: usize) -> String {
    format!(".closedpaw-{tag}-{index}")
}

/// A path whose new content lies beside it, on disk when all of its batch do.
struct Ready {
    index: usize,
    folder: OwnedFd,
    was: Option<Stamp>,
}

impl<'a> Carrier<'a> {
    /// In this workspace.
    pub fn new(root: &'a OwnedFd, tag: &'a str) -> Self {
        Self { target: Target::Folder, root, tag, modes: Vec::new() }
    }

    /// In a session's layer, before anything runs there.
    pub fn in_layer(root: &'a OwnedFd, tag: &'a str) -> Self {
        Self { target: Target::Layer, ..Self::new(root, tag) }
    }

    /// Carries some paths over, in this order. What becomes of each is told as it is known.
    ///
    /// # Errors
    /// Only [`Left::Stopped`]: whoever was asked said so.
    pub fn carry(
        &mut self,
        steps: &[Step],
        order: &[usize],
        source: &dyn Source,
        go_on: GoOn<'_>,
        tell: &mut dyn FnMut(usize, Option<String>),
    ) -> Result<(), Left> {
        let mut waiting: Vec<usize> = Vec::new();
        for index in order {
            // A folder that is made has to be there before what is in it.
            let at_once = steps.get(*index).is_some_and(is_folder_or_goes);
            if at_once || waiting.len() >= BATCH {
                self.batch(steps, &std::mem::take(&mut waiting), source, go_on, tell)?;
            }
            waiting.push(*index);
            if at_once {
                self.batch(steps, &std::mem::take(&mut waiting), source, go_on, tell)?;
            }
        }
        self.batch(steps, &waiting, source, go_on, tell)
    }

    /// Sets what was left to the end, and brings everything to disk.
    pub fn finish(self) -> io::Result<()> {
        for (place, mode) in self.modes.iter().rev() {
            set_mode(self.root, place, *mode)?;
        }
        Ok(syncfs(self.root)?)
    }

    fn batch(
        &mut self,
        steps: &[Step],
        batch: &[usize],
        source: &dyn Source,
        go_on: GoOn<'_>,
        tell: &mut dyn FnMut(usize, Option<String>),
    ) -> Result<(), Left> {
        let each = batch.len() < MANY;
        let mut ready = Vec::with_capacity(batch.len());
        for index in batch {
            let Some(step) = steps.get(*index) else { continue };
            match self.make(*index, step, source, each, go_on) {
                Ok(made) => ready.push(made),
                Err(Left::Refused(why)) => tell(*index, Some(why)),
                Err(Left::Stopped) => return Err(Left::Stopped),
            }
        }
        if !each {
            syncfs(self.root)?;
        }
        for made in ready {
            let Some(step) = steps.get(made.index) else { continue };
            let index = made.index;
            match self.place(&made, step, go_on) {
                Ok(()) => tell(index, None),
                Err(Left::Refused(why)) => tell(index, Some(why)),
                Err(Left::Stopped) => return Err(Left::Stopped),
            }
        }
        Ok(())
    }

    /// Compares what is there, and makes what is to be there beside it.
    fn make(
        &self,
        index: usize,
        step: &Step,
        source: &dyn Source,
        sync: bool,
        go_on: GoOn<'_>,
    ) -> Result<Ready, Left> {
        ask(go_on)?;
        let folder = step.place.open_folder(self.root)?;
        let (there, was) = Node::at(&folder, step.place.name())?.unzip();
        if there != step.before {
            return refused("the folder has changed there since it was shown");
        }
        let name = beside(self.tag, index);
        let made = match (&step.after, source.other_name(index)) {
            (Some(after), Some(other)) => another_name(self.root, other, (&folder, &name), after),
            (Some(after), None) if !is_mode_alone(step) => {
                self.draft((&folder, &name), (index, step, after), source, sync)
            }
            (Some(_) | None, _) => Ok(()),
        };
        if made.is_err() {
            drop(remove(&folder, &name));
        }
        made.map(|()| Ready { index, folder, was })
    }

    /// Puts it in its place.
    fn place(&mut self, made: &Ready, step: &Step, go_on: GoOn<'_>) -> Result<(), Left> {
        let Ready { index, folder, was } = made;
        let (name, beside) = (step.place.name(), beside(self.tag, *index));
        ask(go_on)?;
        if Stamp::of(folder, name)? != *was {
            drop(remove(folder, &beside));
            return refused("the folder has changed there since it was shown");
        }
        ask(go_on)?;
        match (was, &step.after) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                if let Err(error) =
                    renameat_with(folder, beside.as_str(), folder, name, RenameFlags::NOREPLACE)
                {
                    drop(remove(folder, &beside));
                    return Err(error.into());
                }
            }
            (Some(_), Some(after)) if is_mode_alone(step) => {
                self.modes.push((step.place.clone(), after.mode));
                return Ok(());
            }
            (Some(was), Some(after)) if self.target == Target::Layer => {
                // A folder takes no other thing's place, nor gives it up to one (rename(2)).
                if was.kind == Kind::Folder || after.kind == Kind::Folder {
                    remove(folder, name)?;
                }
                renameat(folder, beside.as_str(), folder, name)?;
            }
            (Some(_), None) if self.target == Target::Layer => remove(folder, name)?,
            (Some(was), Some(_)) => exchange(folder, name, &beside, was, go_on)?,
            (Some(was), None) => {
                renameat_with(folder, name, folder, beside.as_str(), RenameFlags::NOREPLACE)?;
                ask(go_on)?;
                take_away(folder, &beside, was, || {
                    renameat_with(folder, beside.as_str(), folder, name, RenameFlags::NOREPLACE)
                })?;
            }
        }
        if let Some(after) = step.after.as_ref().filter(|after| after.kind == Kind::Folder) {
            self.modes.push((step.place.clone(), after.mode));
        }
        ask(go_on)
    }

    /// Makes what is to be there, under another name: only with exactly the content that was shown.
    fn draft(
        &self,
        (folder, name): (&OwnedFd, &str),
        (index, step, after): (usize, &Step, &Node),
        source: &dyn Source,
        sync: bool,
    ) -> Result<(), Left> {
        match after.kind {
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut from = source.file(index, step)?;
                let mut to = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?);
                if digest_of(&mut from, &mut to)? != (after.size, after.digest) {
                    return refused(CHANGED);
                }
                // Never setuid, setgid or sticky in the person's folder, whatever the layer has.
                let bits = if self.target == Target::Layer { 0o6777 } else { 0o777 };
                fchmod(&to, Mode::from_raw_mode(after.mode & bits))?;
                if self.target == Target::Layer {
                    // Whoever builds by what is newer goes on where the other session was.
                    to.set_modified(from.metadata()?.modified()?)?;
                }
                if sync {
                    fsync(&to)?;
                }
            }
            Kind::Link => {
                let text = source.link(index, step)?;
                if closedpaw_protocol::Digest::of(&text) != after.digest {
                    return refused(CHANGED);
                }
                if self.target == Target::Folder && !step.place.keeps_inside(&text) {
                    return refused("a link that leads out of the workspace");
                }
                symlinkat(text.as_slice(), folder, name)?;
            }
            Kind::Folder => mkdirat(folder, name, Mode::from_raw_mode(0o700))?,
            Kind::Special => return refused("a device, a FIFO or a socket"),
        }
        Ok(())
    }
}

/// Sets a folder's permission bits; what it inherited from the folder it is in stays.
pub fn set_mode(root: &OwnedFd, place: &Place, mode: u32) -> io::Result<()> {
    let folder = open_beneath(root, place.as_str(), OFlags::RDONLY | OFlags::DIRECTORY)?;
    let inherited = fstat(&folder)?.st_mode & 0o7000;
    Ok(fchmod(&folder, Mode::from_raw_mode(inherited | mode))?)
}

fn ask(go_on: GoOn<'_>) -> Result<(), Left> {
    if go_on() { Ok(()) } else { Err(Left::Stopped) }
}

fn is_folder_or_goes(step: &Step) -> bool {
    step.after.as_ref().is_none_or(|after| after.kind == Kind::Folder)
        || step.before.as_ref().is_some_and(|before| before.kind == Kind::Folder)
}

/// A folder that stays one.
fn is_mode_alone(step: &Step) -> bool {
    let folder = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.kind == Kind::Folder);
    folder(&step.before) && folder(&step.after)
}

/// Gives a file that is there already another name: only if it is exactly what was shown.
fn another_name(
    root: &OwnedFd,
    other: &Place,
    (folder, name): (&OwnedFd, &str),
    after: &Node,
) -> Result<(), Left> {
    let from = other.open_folder(root)?;
    let there = Node::at(&from, other.name())?.map(|(node, _)| node);
    if there.as_ref() != Some(after) {
        return refused(CHANGED);
    }
    Ok(linkat(&from, other.name(), folder, name, AtFlags::empty())?)
}

/// Puts the new one in the place of the old one, and the old one away, in one step.
fn exchange(folder: &OwnedFd, name: &str, beside: &str, was: &Stamp, go_on: GoOn<'_>) -> Result<(), Left> {
    let swap = || renameat_with(folder, beside, folder, name, RenameFlags::EXCHANGE);
    match swap() {
        Ok(()) => {
            ask(go_on)?;
            take_away(folder, beside, was, swap)
        }
        // A filesystem that cannot exchange can still replace (rename(2)).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => renameat(folder, beside, folder, name)
            .map_err(|error| {
                drop(remove(folder, beside));
                error.into()
            }),
        Err(error) => {
            drop(remove(folder, beside));
            Err(error.into())
        }
    }
}

/// Removes what came out of its place, if it is what was looked at; else puts it back.
fn take_away(
    folder: &OwnedFd,
    beside: &str,
    was: &Stamp,
    back: impl FnOnce() -> rustix::io::Result<()>,
) -> Result<(), Left> {
    let same = Stamp::of(folder, beside)?.is_some_and(|now| now.is_moved(was) || is_same_folder(&now, was));
    let why = match same.then(|| remove(folder, beside)) {
        Some(Ok(())) => return Ok(()),
        Some(Err(error)) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            "the folder is not empty".to_owned()
        }
        Some(Err(error)) => error.to_string(),
        None => "the folder has changed there since it was shown".to_owned(),
    };
    back()?;
    // Where two were exchanged, what was to come lies beside again.
    drop(remove(folder, beside));
    Err(Left::Refused(why))
}

/// What is in a folder is looked at on its own.
fn is_same_folder(now: &Stamp, was: &Stamp) -> bool {
    was.kind == Kind::Folder && now.kind == Kind::Folder && now.inode == was.inode
}

/// Removes a file, a link or an empty folder.
pub fn remove(folder: &impl AsFd, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?),
        result => Ok(result?),
    }
}
