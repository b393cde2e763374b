//! A session's staged work, carried over into the layer of another session that has not begun yet: all of it, or nothing runs.
//!
//! What is never applied to a folder of the person's because of what it would do there (links that lead out, hard links, set
//! bits) does nothing in a layer, and goes along. What only the folder has changed the other session sees by itself.
#![forbid(unsafe_code)]

use super::carry::{Carrier, GoOn, Left, Merged, Source, Step, in_order};
use super::manifest;
use super::node::Stamp;
use super::place::Place;
use super::survey::{Bar, Shared, Survey, Time};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// Why there is no fork: the path, where it is about one, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which; nothing if it is about all of them.
    pub path: String,
    /// In words for the person.
    pub why: String,
}

impl Stuck {
    fn at(path: &str, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into() }
    }
}

/// Everything that has to be carried over.
#[derive(Debug)]
pub struct Fork {
    steps: Vec<Step>,
    /// Of the steps that give a file another name: where the file is by then.
    others: BTreeMap<usize, Place>,
    /// When the work began.
    pub begun: Time,
}

impl Fork {
    /// What a comparison with the workspace has found.
    ///
    /// # Errors
    /// If part of it cannot be carried over.
    pub fn of(survey: Survey) -> Result<Self, Stuck> {
        if survey.cut {
            return Err(Stuck::at("", "there are more paths than are compared"));
        }
        let begun = survey.beginning();
        let (shared, bars) = (survey.shared, survey.bars);
        let stale = |path: &String| bars.get(path) == Some(&Bar::Stale);
        let steps: Result<Vec<Step>, Stuck> = survey
            .entries
            .into_values()
            .filter(|entry| !stale(&entry.path))
            .map(|entry| step(bars.get(&entry.path).copied(), entry))
            .collect();
        let mut fork = Self { steps: steps?, others: BTreeMap::new(), begun };
        let index = |fork: &Self, path: &String| {
            fork.steps.binary_search_by(|step| step.place.as_str().cmp(path)).ok()
        };
        for file in joined(shared) {
            let (ours, same): (Vec<_>, Vec<_>) =
                file.paths.iter().partition(|path| index(&fork, path).is_some());
            let Some(first) = ours.first() else { continue };
            if file.stamp.links as usize != file.paths.len()
                || same.len() > 1
                || same.iter().any(|path| stale(path))
            {
                return Err(Stuck::at(first, "a hard link, not all names of which are the session's work"));
            }
            // The one that is there already, or will be before the others.
            let other = same.first().unwrap_or(first);
            let place =
                Place::try_from((*other).clone()).map_err(|_| Stuck::at(other, "its path is too long"))?;
            for path in ours.iter().filter(|path| *path != other) {
                fork.others.extend(index(&fork, path).map(|index| (index, place.clone())));
            }
        }
        Ok(fork)
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is nothing to carry over.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Carries everything over, from what the one session sees to what the other does. What is on either side must be what was
    /// found there.
    ///
    /// # Errors
    /// With the first path that could not be; the rest is not tried.
    pub fn carry(&self, from: &OwnedFd, to: &OwnedFd, tag: &str, go_on: GoOn<'_>) -> Result<(), Stuck> {
        let mut carrier = Carrier::in_layer(to, tag);
        let source = Names { merged: Merged(from), others: &self.others };
        let (later, first): (Vec<usize>, Vec<usize>) =
            in_order(&self.steps).into_iter().partition(|index| self.others.contains_key(index));
        let place = |index: usize| self.steps.get(index).map_or("", |step| step.place.as_str());
        for order in [first, later] {
            let stuck = std::cell::RefCell::new(None);
            let mut tell = |index: usize, why: Option<String>| {
                if let Some(why) = why {
                    stuck.borrow_mut().get_or_insert_with(|| Stuck::at(place(index), why));
                }
            };
            let mut go_on = || stuck.borrow().is_none() && go_on();
            let carried = carrier.carry(&self.steps, &order, &source, &mut go_on, &mut tell);
            match (stuck.into_inner(), carried) {
                (Some(stuck), _) => return Err(stuck),
                (None, Ok(())) => {}
                (None, Err(Left::Refused(why))) => return Err(Stuck::at("", why)),
                (None, Err(Left::Stopped)) => return Err(Stuck::at("", "it was interrupted")),
            }
        }
        carrier.finish().map_err(|error| Stuck::at("", error.to_string()))
    }
}

/// Puts together what is one file: an overlay tells two inodes for it where one of its names was there before the session.
/// Whatever the names, each changed when any of them was made or taken away.
fn joined(shared: Vec<Shared>) -> Vec<Shared> {
    let is_whole = |file: &Shared| file.paths.len() == file.stamp.links as usize;
    let (mut all, parts): (Vec<Shared>, Vec<Shared>) = shared.into_iter().partition(is_whole);
    let mut files: BTreeMap<_, Shared> = BTreeMap::new();
    for part in parts {
        let Stamp { changed, written, size, mode, links, .. } = part.stamp;
        match files.entry((changed, written, size, mode, links)) {
            Entry::Vacant(file) => drop(file.insert(part)),
            Entry::Occupied(file) => file.into_mut().paths.extend(part.paths),
        }
    }
    all.extend(files.into_values());
    all
}

fn step(bar: Option<Bar>, entry: manifest::Entry) -> Result<Step, Stuck> {
    let manifest::Entry { path, before, after, refused, .. } = entry;
    match bar {
        None | Some(Bar::Outside) => {}
        Some(Bar::Stale | Bar::Never) => return Err(Stuck::at(&path, refused.unwrap_or_default())),
    }
    let place = Place::try_from(path.clone()).map_err(|_| Stuck::at(&path, "its path is too long"))?;
    Ok(Step { place, before, after })
}

/// The workspace as the session saw it, and which files there have several names.
struct Names<'a> {
    merged: Merged<'a>,
    others: &'a BTreeMap<usize, Place>,
}

impl Source for Names<'_> {
    fn file(&self, index: usize, step: &Step) -> io::Result<File> {
        self.merged.file(index, step)
    }

    fn link(&self, index: usize, step: &Step) -> io::Result<Vec<u8>> {
        self.merged.link(index, step)
    }

    fn other_name(&self, index: usize) -> Option<&Place> {
        self.others.get(&index)
    }
}
