//! The journal of an apply: on disk before anything is changed, so that whatever ends this process, each path is old or new,
//! what is left beside it is cleared away by the next one, and all of it can be undone.
//!
//! ```text
//! applied/TIME-TAG/plan.json    each path, what was there and what is to be there; and which workspace
//! applied/TIME-TAG/copies/N     the content of path N as it was
//! applied/TIME-TAG/done.json    which paths were carried over; written last
//! applied/TIME-TAG/undoing      there from when it begins to be undone
//! ```
#![forbid(unsafe_code)]

use super::carry::{self, Carrier, GoOn, Left, Source, Step, beside};
use super::choose::Workspace;
use super::manifest;
use super::node::{self, Kind, Node, Stamp, digest_of};
use crate::failure::Failure;
use crate::places::private_folder;
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with, syncfs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many applies can be undone, one after the other.
const KEPT: usize = 8;

/// What is to be done, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whose work it is.
    pub session: String,
    /// The workspace's path.
    pub workspace: PathBuf,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// In all names that are made on the way.
    pub tag: String,
    /// By number.
    pub steps: Vec<Step>,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The numbers of the paths that are new.
    pub applied: BTreeSet<usize>,
}

/// Nobody else applies or undoes as long as there is one.
#[derive(Debug)]
pub struct Locked(#[expect(dead_code, reason = "holding it is its use")] File);

/// One apply.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// What is to be done.
    pub plan: Plan,
}

/// What became of each path, in words where it was not carried over.
pub type Told = Vec<(usize, Option<String>)>;

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(
        "journal",
        74,
        format!("{}: {error}", path.display()),
        "free space where your state folder is; nothing was changed",
    )
}

/// Waits for whoever applies or undoes just now.
pub fn lock() -> Result<Locked, Failure> {
    lock_in(&manifest::folder())
}

pub(super) fn lock_in(folder: &Path) -> Result<Locked, Failure> {
    let lock = || {
        private_folder(folder)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(folder.join("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Locked(file))
    };
    lock().map_err(|error: io::Error| failed(folder, error))
}

/// Where the journals are.
pub fn folder() -> PathBuf {
    manifest::folder().join("applied")
}

impl Journal {
    /// Begins one: keeps what is there now, then says on disk what is to be done. A path where something else is than was
    /// shown is left out, and named.
    pub fn begin(
        folder: &Path,
        session: String,
        workspace: &Workspace,
        steps: Vec<Step>,
        go_on: GoOn<'_>,
    ) -> Result<(Self, Vec<(Step, String)>), Failure> {
        let tag = hex::encode(crate::client::random::<8>()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let folder = folder.join(format!("{now:020}-{tag}"));
        let error = |error: io::Error| failed(&folder, error);
        private_folder(&folder.join("copies")).map_err(error)?;
        let (mut kept, mut left) = (Vec::new(), Vec::new());
        let coming: BTreeSet<String> = steps.iter().map(|step| step.place.as_str().to_owned()).collect();
        for step in steps {
            if !go_on() {
                return Err(Failure::interrupted());
            }
            match keep(&workspace.folder, &folder.join("copies").join(kept.len().to_string()), &step, &coming)
            {
                Ok(()) => kept.push(step),
                Err(Kept::Left(Left::Refused(why))) => left.push((step, why)),
                Err(Kept::Left(Left::Stopped)) => return Err(Failure::interrupted()),
                Err(Kept::Failed(why)) => return Err(error(why)),
            }
        }
        let plan = Plan {
            session,
            workspace: workspace.path.clone(),
            device: workspace.device,
            inode: workspace.inode,
            tag,
            steps: kept,
        };
        sync(&folder).map_err(error)?;
        write(&folder, "plan.json", &plan).map_err(error)?;
        Ok((Self { folder, plan }, left))
    }

    /// Says on disk that it is over.
    pub fn end(&self, done: &Done) -> Result<(), Failure> {
        write(&self.folder, "done.json", done).map_err(|error| failed(&self.folder, error))
    }

    /// Where the contents lie that were there before, by their numbers in the plan beside them.
    pub fn kept_in(&self) -> PathBuf {
        self.folder.join("copies")
    }

    /// Forgets it.
    pub fn forget(self) {
        drop(fs::remove_dir_all(&self.folder));
    }

    fn open(folder: PathBuf) -> Option<Self> {
        let plan: Plan = serde_json::from_slice(&fs::read(folder.join("plan.json")).ok()?).ok()?;
        let plain = plan.tag.len() == 16 && plan.tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then_some(Self { folder, plan })
    }

    fn done(&self) -> Option<Done> {
        serde_json::from_slice(&fs::read(self.folder.join("done.json")).ok()?).ok()
    }

    fn copies(&self) -> Copies {
        Copies(self.folder.join("copies"))
    }
}

enum Kept {
    Left(Left),
    Failed(io::Error),
}

impl From<io::Error> for Kept {
    fn from(error: io::Error) -> Self {
        Self::Left(error.into())
    }
}

/// Copies what is there now, if it is what was shown.
fn keep(root: &OwnedFd, copy: &Path, step: &Step, coming: &BTreeSet<String>) -> Result<(), Kept> {
    let changed = || Kept::Left(Left::Refused("the folder has changed there since it was shown".to_owned()));
    let folder = match step.place.open_folder(root) {
        Ok(folder) => folder,
        // It is made on the way.
        Err(_)
            if step.before.is_none() && step.place.folder().is_some_and(|folder| coming.contains(folder)) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let name = step.place.name();
    let stamp = Stamp::of(&folder, name)?;
    let (Some(stamp), Some(before)) = (stamp, &step.before) else {
        return if stamp.is_none() && step.before.is_none() { Ok(()) } else { Err(changed()) };
    };
    if (stamp.kind, stamp.mode) != (before.kind, before.mode) {
        return Err(changed());
    }
    let create =
        || OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy).map_err(Kept::Failed);
    match stamp.kind {
        Kind::File => {
            let mut from = node::open(&folder, name, &stamp)?;
            let copied = digest_of(&mut from, &mut create()?).map_err(Kept::Failed)?;
            if copied != (before.size, before.digest) {
                drop(fs::remove_file(copy));
                return Err(changed());
            }
        }
        Kind::Link => {
            let text = node::link_text(&folder, name)?;
            if closedpaw_protocol::Digest::of(&text) != before.digest {
                return Err(changed());
            }
            io::Write::write_all(&mut create()?, &text).map_err(Kept::Failed)?;
        }
        Kind::Folder => {}
        Kind::Special => return Err(changed()),
    }
    Ok(())
}

/// What was there before, as a journal has it.
struct Copies(PathBuf);

impl Source for Copies {
    fn file(&self, index: usize, _: &Step) -> io::Result<File> {
        File::open(self.0.join(index.to_string()))
    }

    fn link(&self, index: usize, step: &Step) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.file(index, step)?.take(65536).read_to_end(&mut text)?;
        Ok(text)
    }
}

/// Everything in a folder to disk, however many files it has.
fn sync(folder: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

/// There at once and on disk, or not at all.
fn write(folder: &Path, name: &str, what: &impl Serialize) -> io::Result<()> {
    let draft = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, &serde_json::to_vec(what)?)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()?;
    File::open(folder.parent().unwrap_or(folder))?.sync_all()
}

/// The journals, oldest first.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Clears away what an apply or an undo that was cut off has left: each path is old or new then, and only that. Gives the
/// workspaces for which it was so.
pub fn recover(folder: &Path, _: &Locked) -> Vec<PathBuf> {
    let mut recovered = Vec::new();
    for path in all(folder) {
        let Some(journal) = Journal::open(path.clone()) else {
            // Nothing was changed before there was a plan. One that cannot be read still has its copies.
            if !path.join("plan.json").exists() {
                drop(fs::remove_dir_all(path));
            }
            continue;
        };
        let undoing = path.join("undoing");
        let done = journal.done();
        if done.is_some() && !undoing.exists() {
            continue;
        }
        let Ok(workspace) = Workspace::open(&journal.plan.workspace) else { continue };
        if !workspace.is(journal.plan.device, journal.plan.inode) {
            continue;
        }
        let backwards = undoing.exists();
        for (index, step) in journal.plan.steps.iter().enumerate() {
            let step = if backwards { step.clone().reversed() } else { step.clone() };
            if let Err(error) = settle(&workspace.folder, &beside(&journal.plan.tag, index), &step) {
                crate::console::screen::err(&format!(
                    "! {}: {}\n",
                    crate::console::screen::visible(step.place.as_str()),
                    error
                ));
            }
        }
        let towards = |step: &Step| if backwards { step.clone().reversed() } else { step.clone() };
        set_modes(&workspace.folder, journal.plan.steps.iter().map(towards));
        if done.is_none() {
            let applied =
                (0..).zip(&journal.plan.steps).filter(|(_, step)| is_there(&workspace.folder, step));
            drop(journal.end(&Done { applied: applied.map(|(index, _)| index).collect() }));
        }
        drop(fs::remove_file(undoing));
        recovered.push(journal.plan.workspace.clone());
    }
    recovered
}

/// Sets the bits of folders that were made and not finished.
fn set_modes(root: &OwnedFd, steps: impl DoubleEndedIterator<Item = Step>) {
    let made = |step: &Step| match (&step.before, &step.after) {
        (Some(before), _) if before.kind == Kind::Folder => None,
        (_, Some(after)) if after.kind == Kind::Folder => Some(after.mode),
        _ => None,
    };
    for step in steps.rev() {
        if let Some(mode) = made(&step) {
            // One that was never made has none.
            drop(carry::set_mode(root, &step.place, mode));
        }
    }
}

/// Whether the new one is in its place.
pub fn is_there(root: &OwnedFd, step: &Step) -> bool {
    let now = step.place.open_folder(root).and_then(|folder| Node::at(&folder, step.place.name()));
    let is_folder = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.kind == Kind::Folder);
    match now {
        Ok(now) => {
            let now = now.map(|(node, _)| node);
            // Its bits may not have been set yet.
            now == step.after || (is_folder(&now) && is_folder(&step.after) && !is_folder(&step.before))
        }
        Err(_) => step.after.is_none(),
    }
}

/// Clears away what lies beside a path.
fn settle(root: &OwnedFd, beside: &str, step: &Step) -> io::Result<()> {
    let Ok(folder) = step.place.open_folder(root) else { return Ok(()) };
    let Some(stamp) = Stamp::of(&folder, beside)? else { return Ok(()) };
    let name = step.place.name();
    let there = Node::at(&folder, name)?.map(|(node, _)| node);
    let was = Node::read(&folder, beside, &stamp).ok();
    let folders = was.as_ref().is_some_and(|was| was.kind == Kind::Folder);
    let is_new = is_there(root, step);
    if !is_new && there.is_some() {
        // What was to come, never put in its place; or what was taken away.
        return if step.after.is_some() || was == step.before {
            carry::remove(&folder, beside)
        } else {
            Err(io::Error::other(format!("there is something else now; what was there is {beside}")))
        };
    }
    if !is_new {
        // Nothing is there: either something was to come, or it was taken away and is not what was shown.
        return match step.before {
            None => carry::remove(&folder, beside),
            Some(_) => Ok(renameat_with(&folder, beside, &folder, name, RenameFlags::NOREPLACE)?),
        };
    }
    if was == step.before || folders {
        return match carry::remove(&folder, beside) {
            // Something is in it that was not shown.
            Err(_) if folders => put_back(&folder, beside, name, step.after.is_some()),
            result => result,
        };
    }
    put_back(&folder, beside, name, step.after.is_some())
}

/// What came out of its place is not what was shown: it goes back, and what was to come goes.
fn put_back(folder: &OwnedFd, beside: &str, name: &str, exchanged: bool) -> io::Result<()> {
    let flag = if exchanged { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    renameat_with(folder, beside, folder, name, flag)?;
    if exchanged { carry::remove(folder, beside) } else { Ok(()) }
}

/// Forgets all but the last applies.
pub fn forget_old(folder: &Path) {
    let all = all(folder);
    for path in all.iter().take(all.len().saturating_sub(KEPT)) {
        drop(fs::remove_dir_all(path));
    }
}

/// The last apply that can be undone.
pub fn last(folder: &Path) -> Option<(Journal, Done)> {
    let journals = all(folder).into_iter().rev().filter_map(Journal::open);
    journals
        .filter_map(|journal| journal.done().map(|done| (journal, done)))
        .find(|(_, done)| !done.applied.is_empty())
}

/// Undoes it, path by path; what has changed since stays as it is, and is told.
pub fn undo(journal: &Journal, done: &Done, workspace: &Workspace, go_on: GoOn<'_>) -> Result<Told, Failure> {
    let error = |error: io::Error| failed(&journal.folder, error);
    write(&journal.folder, "undoing", &()).map_err(error)?;
    let steps: Vec<Step> = journal.plan.steps.iter().map(|step| step.clone().reversed()).collect();
    let order = carry::in_order(&steps).into_iter().filter(|index| done.applied.contains(index));
    let mut told = Told::new();
    let mut left: Vec<usize> = Vec::new();
    for index in order {
        // An undo that was cut off has done some.
        match steps.get(index).is_some_and(|step| is_there(&workspace.folder, step)) {
            true => told.push((index, None)),
            false => left.push(index),
        }
    }
    let mut carrier = Carrier::new(&workspace.folder, &journal.plan.tag);
    let mut tell = |index: usize, why: Option<String>| {
        told.push((index, why.map(|why| why.replace("since it was shown", "since it was applied"))));
    };
    if let Err(Left::Stopped) = carrier.carry(&steps, &left, &journal.copies(), go_on, &mut tell) {
        return Err(Failure::interrupted());
    }
    carrier.finish().map_err(error)?;
    let undone: BTreeSet<usize> =
        told.iter().filter(|(_, why)| why.is_none()).map(|(index, _)| *index).collect();
    journal.end(&Done { applied: done.applied.difference(&undone).copied().collect() })?;
    drop(fs::remove_file(journal.folder.join("undoing")));
    Ok(told)
}
