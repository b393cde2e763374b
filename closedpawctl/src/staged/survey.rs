//! Comparing what a session sees with the folder itself, name by name.
#![forbid(unsafe_code)]

use super::manifest::Entry;
use super::node::{self, Kind, LARGEST, Node, Stamp};
use super::place::{Place, open_beneath};
use rustix::fs::{Dir, OFlags};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

/// The most names that are looked at; past it the list says that it is not whole.
const MOST: usize = 400_000;

/// The deepest folder that is looked into.
const DEEPEST: usize = 64;

/// Why what only the folder has changed is not carried over to it.
const UNTOUCHED: &str =
    "the folder has changed there since the session began, and the session changed nothing";

/// The differences between a session's view and its workspace.
#[derive(Debug, Default)]
pub struct Survey {
    /// By path.
    pub entries: BTreeMap<String, Entry>,
    /// Whether something was left out.
    pub cut: bool,
    /// Of those of the entries that are never carried over to the folder: what stands against it.
    pub bars: BTreeMap<String, Bar>,
    /// The files of the session's side that have several names.
    pub shared: Vec<Shared>,
    /// Since when there is the layer.
    since: Time,
    /// Since when there is the work in it, which may have begun in another session.
    begun: Time,
    looked: usize,
    groups: BTreeMap<((u32, u32), u64), usize>,
}

/// What stands against carrying something over to the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// The session did nothing there; the folder has changed.
    Stale,
    /// What it would do in a folder of the person's; in a session's layer it does nothing.
    Outside,
    /// It cannot be copied, or nobody knows what the session did.
    Never,
}

/// A time in seconds and nanoseconds.
pub type Time = (i64, u32);

/// A file with several names.
#[derive(Debug)]
pub struct Shared {
    /// What the kernel says of it.
    pub stamp: Stamp,
    /// The names that were come by.
    pub paths: Vec<String>,
}

/// One of the two sides: a folder, where there is one.
type Side<'a> = Option<&'a OwnedFd>;

impl Survey {
    /// Compares the two; `since` is when the session began, in unix seconds, for where the layer itself does not say it.
    pub fn of(merged: &OwnedFd, workspace: &OwnedFd, since: u64) -> Self {
        Self::begun(merged, workspace, since, None)
    }

    /// The same for a session that began with work of another one: `begun` is when that began.
    pub fn begun(merged: &OwnedFd, workspace: &OwnedFd, since: u64, begun: Option<Time>) -> Self {
        let told = (i64::try_from(since).unwrap_or(i64::MAX), 0);
        let since = node::birth(merged).unwrap_or(told);
        let begun = begun.unwrap_or(since).min(since);
        let mut survey = Self { since, begun, ..Self::default() };
        survey.folder(Some(merged), Some(workspace), "", 0);
        survey
    }

    /// When the work began.
    pub fn beginning(&self) -> Time {
        self.begun
    }

    fn folder(&mut self, ours: Side<'_>, theirs: Side<'_>, place: &str, depth: usize) {
        let ((mine, our_odd), (before, their_odd)) = (names(ours), names(theirs));
        self.odd((ours, &our_odd), (theirs, &their_odd), place);
        for name in mine.iter().chain(before.iter().filter(|name| mine.binary_search(name).is_err())) {
            self.looked += 1;
            if self.looked > MOST || depth > DEEPEST {
                self.cut = true;
                return;
            }
            let path = if place.is_empty() { name.clone() } else { format!("{place}/{name}") };
            self.name((ours, theirs), name, path, depth);
        }
    }

    /// Names that are no text: what differs there is named, as well as it can be, and never carried over.
    fn odd(&mut self, ours: (Side<'_>, &[CString]), theirs: (Side<'_>, &[CString]), place: &str) {
        let new = theirs.1.iter().filter(|name| !ours.1.contains(name));
        for name in ours.1.iter().chain(new) {
            let stamp =
                |side: Side<'_>| side.and_then(|side| Stamp::of(side, name.as_c_str()).ok().flatten());
            let (mine, before) = (stamp(ours.0), stamp(theirs.0));
            if mine.map(|mine| mine.changed) == before.map(|before| before.changed) {
                continue;
            }
            let shown = format!("{place}/{}", name.to_string_lossy());
            let entry = Entry {
                path: shown.trim_start_matches('/').to_owned(),
                before: before.as_ref().map(unread),
                after: mine.as_ref().map(unread),
                refused: Some("its name is no text".to_owned()),
                newer: false,
            };
            self.bars.insert(entry.path.clone(), Bar::Never);
            self.entries.insert(entry.path.clone(), entry);
        }
    }

    fn name(&mut self, (ours, theirs): (Side<'_>, Side<'_>), name: &str, path: String, depth: usize) {
        let stamp = |side: Side<'_>| side.and_then(|side| Stamp::of(side, name).ok().flatten());
        let (mine, before) = (stamp(ours), stamp(theirs));
        if before.is_some_and(|before| before.is_mount) {
            // What is mounted there is not what lies below the session's layer.
            return;
        }
        if let Some(mine) = mine.filter(|mine| mine.kind == Kind::File && mine.links > 1) {
            self.share(&mine, &path);
        }
        // An edit outside has put it away, and the overlay still shows it. What a session made has a name.
        let put_away = mine.is_some_and(|mine| mine.links == 0);
        if !put_away && let Some((entry, bar)) = self.difference((ours, theirs), name, &path, (mine, before))
        {
            self.bars.extend(bar.map(|bar| (path.clone(), bar)));
            self.entries.insert(path.clone(), entry);
        }
        let folder = |side: Side<'_>, stamp: Option<Stamp>| {
            let (side, _) = side.zip(stamp.filter(|stamp| stamp.kind == Kind::Folder))?;
            Some(open_beneath(side, name, OFlags::RDONLY | OFlags::DIRECTORY))
        };
        match (folder(ours, mine), folder(theirs, before)) {
            (None, None) => {}
            (Some(Err(error)), _) | (_, Some(Err(error))) => {
                self.closed(path, (mine, before), &format!("it cannot be read: {error}"));
            }
            (down, under) => {
                let (down, under) = (down.and_then(Result::ok), under.and_then(Result::ok));
                self.folder(down.as_ref(), under.as_ref(), &path, depth + 1);
            }
        }
    }

    /// A folder that nobody can look into here: what is in it is not taken for gone.
    fn closed(&mut self, path: String, (mine, before): (Option<Stamp>, Option<Stamp>), why: &str) {
        if mine.zip(before).is_some_and(|(mine, before)| mine.changed == before.changed) {
            return;
        }
        let entry = Entry {
            path: path.clone(),
            before: before.as_ref().map(unread),
            after: mine.as_ref().map(unread),
            refused: Some(why.to_owned()),
            newer: false,
        };
        self.bars.insert(path.clone(), Bar::Never);
        self.entries.insert(path, entry);
    }

    fn share(&mut self, mine: &Stamp, path: &str) {
        let next = self.shared.len();
        let index = *self.groups.entry((mine.device, mine.inode)).or_insert(next);
        match self.shared.get_mut(index) {
            Some(shared) => shared.paths.push(path.to_owned()),
            None => self.shared.push(Shared { stamp: *mine, paths: vec![path.to_owned()] }),
        }
    }

    fn difference(
        &self,
        (ours, theirs): (Side<'_>, Side<'_>),
        name: &str,
        path: &str,
        (mine, before): (Option<Stamp>, Option<Stamp>),
    ) -> Option<(Entry, Option<Bar>)> {
        if let (Some(mine), Some(before)) = (&mine, &before)
            && let same = (mine.kind, mine.mode, mine.size) == (before.kind, before.mode, before.size)
            && same
            && (mine.changed == before.changed || mine.kind == Kind::Folder)
        {
            return None;
        }
        let read = |side: Side<'_>, stamp: &Option<Stamp>| {
            let (Some(side), Some(stamp)) = (side, stamp) else { return (None, None) };
            match Node::read(side, name, stamp) {
                Ok(node) => (Some(node), None),
                Err(error) => (Some(unread(stamp)), Some(words(&error, stamp))),
            }
        };
        let ((after, hidden), (was, lost)) = (read(ours, &mine), read(theirs, &before));
        if after == was && hidden.is_none() && lost.is_none() {
            return None;
        }
        let newer = |than: Time| before.is_some_and(|before| before.changed > than);
        let stale = mine.is_some_and(|mine| mine.changed < self.since);
        let refused = match hidden.or(lost) {
            Some(why) => Some((why, if stale { Bar::Stale } else { Bar::Never })),
            None if stale => Some((UNTOUCHED.to_owned(), Bar::Stale)),
            None => refusal(path, ours, name, (&mine, &before), newer(self.since)),
        };
        let (refused, bar) = refused.unzip();
        let entry = Entry { path: path.to_owned(), before: was, after, refused, newer: newer(self.begun) };
        Some((entry, bar))
    }
}

/// The names in a folder, sorted; and those that are no text.
fn names(side: Side<'_>) -> (Vec<String>, Vec<CString>) {
    let (mut names, mut odd) = (Vec::new(), Vec::new());
    let Some(Ok(directory)) = side.map(Dir::read_from) else { return (names, odd) };
    for entry in directory.flatten() {
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(name.to_owned()),
            Err(_) => odd.push(entry.file_name().to_owned()),
        }
    }
    names.sort_unstable();
    (names, odd)
}

fn unread(stamp: &Stamp) -> Node {
    Node { kind: stamp.kind, mode: stamp.mode, size: stamp.size, digest: closedpaw_protocol::Digest([0; 32]) }
}

fn words(error: &io::Error, stamp: &Stamp) -> String {
    if stamp.size > LARGEST {
        "it is larger than 1 GiB".to_owned()
    } else {
        format!("it cannot be read: {error}")
    }
}

/// Why this is never carried over, if it is not.
fn refusal(
    path: &str,
    ours: Side<'_>,
    name: &str,
    (mine, before): (&Option<Stamp>, &Option<Stamp>),
    unseen: bool,
) -> Option<(String, Bar)> {
    let never = |why: &str| Some((why.to_owned(), Bar::Never));
    let Ok(place) = Place::try_from(path.to_owned()) else {
        return never("its path is too long");
    };
    if mine.is_none() && unseen {
        return never("it is newer than the session, which may never have seen it; remove it yourself");
    }
    if let Some(mine) = mine
        && let Some(why) = unfit(mine, "the session made")
    {
        return Some((why, if mine.kind == Kind::Special { Bar::Never } else { Bar::Outside }));
    }
    if let Some(why) = before.as_ref().and_then(|before| unfit(before, "in the workspace it is")) {
        return Some((why, Bar::Outside));
    }
    if mine.is_some_and(|mine| mine.kind == Kind::Link) {
        let inside = ours.and_then(|ours| node::link_text(ours, name).ok());
        let inside = inside.is_some_and(|text| place.keeps_inside(&text));
        return (!inside).then(|| ("a link that leads out of the workspace".to_owned(), Bar::Outside));
    }
    None
}

fn unfit(stamp: &Stamp, who: &str) -> Option<String> {
    match stamp.kind {
        Kind::Special => Some(format!("{who} a device, a FIFO or a socket")),
        Kind::File if stamp.links > 1 => {
            Some(format!("{who} a hard link: a file with {} names", stamp.links))
        }
        Kind::File if who.starts_with("the session") && stamp.mode & 0o6000 != 0 => {
            Some(format!("{who} a file with the bit setuid or setgid"))
        }
        Kind::File | Kind::Folder | Kind::Link => None,
    }
}
