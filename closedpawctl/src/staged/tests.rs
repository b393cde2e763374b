mod fork;

use super::carry::{Carrier, Left, Merged, Step, in_order};
use super::choose::Workspace;
use super::journal::{self, Done, Journal, Locked};
use super::manifest::{Entry, Manifest};
use super::node::{Kind, Node};
use super::place::{Place, open_beneath};
use super::survey::Survey;
use closedpaw_protocol::{Digest, SessionId};
use proptest::prelude::*;
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};
use tempfile::TempDir;

/// A session's view and a workspace, each a plain folder, and where journals go.
struct Two {
    merged: TempDir,
    workspace: TempDir,
    state: TempDir,
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn folder(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

/// Every path in a folder, with what is there.
fn tree(root: &Path) -> BTreeMap<String, (String, u32, Vec<u8>)> {
    fn walk(root: &Path, place: &Path, found: &mut BTreeMap<String, (String, u32, Vec<u8>)>) {
        for entry in fs::read_dir(root.join(place)).unwrap().flatten() {
            let path = place.join(entry.file_name());
            let stat = entry.metadata().unwrap();
            let (kind, content) = if stat.is_dir() {
                walk(root, &path, found);
                ("folder", vec![])
            } else if stat.is_symlink() {
                ("link", fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes())
            } else {
                ("file", fs::read(entry.path()).unwrap())
            };
            let mode = stat.permissions().mode() & 0o777;
            found.insert(path.to_str().unwrap().to_owned(), (kind.to_owned(), mode, content));
        }
    }
    let mut found = BTreeMap::new();
    walk(root, Path::new(""), &mut found);
    found
}

impl Two {
    fn empty() -> Self {
        // In memory where there is such a place: what is brought to disk a thousand times is not what is looked at.
        let new = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { merged: new(), workspace: new(), state: new() }
    }

    /// Every kind of change there is, and more files than are brought to disk one by one.
    fn full() -> Self {
        let two = Self::empty();
        let (old, new) = (two.workspace.path(), two.merged.path());
        write(&old.join("changed"), b"old", 0o644);
        write(&new.join("changed"), b"new and longer", 0o600);
        write(&old.join("removed"), b"was here", 0o640);
        write(&new.join("added"), b"", 0o644);
        write(&old.join("script"), b"#!/bin/sh\n", 0o644);
        write(&new.join("script"), b"#!/bin/sh\n", 0o755);
        write(&old.join("goes/deep/er"), b"1", 0o644);
        write(&old.join("goes/file"), b"2", 0o644);
        write(&new.join("comes/deep/er"), b"3", 0o644);
        write(&new.join("comes/file"), b"4", 0o444);
        write(&old.join("to-folder"), b"a file", 0o644);
        write(&new.join("to-folder/inside"), b"5", 0o644);
        write(&old.join("to-file/inside"), b"6", 0o644);
        write(&new.join("to-file"), b"a file now", 0o644);
        write(&old.join("stays/same"), b"7", 0o644);
        write(&new.join("stays/same"), b"7", 0o644);
        fs::set_permissions(new.join("stays"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("changed", old.join("link")).unwrap();
        symlink("stays/same", new.join("link")).unwrap();
        symlink("../changed", new.join("comes/up")).unwrap();
        symlink("same", old.join("stays/gone")).unwrap();
        for number in 0..40 {
            write(&new.join(format!("many/{number}")), format!("{number}").as_bytes(), 0o644);
        }
        fs::set_permissions(new.join("comes/deep"), fs::Permissions::from_mode(0o555)).unwrap();
        two
    }

    fn steps(&self) -> Vec<Step> {
        let (mut all, new) = (tree(self.workspace.path()), tree(self.merged.path()));
        all.extend(new);
        let sides = [self.workspace.path(), self.merged.path()].map(folder);
        let step = |path: &String| {
            let place = Place::try_from(path.clone()).unwrap();
            let [before, after] = [0, 1].map(|side| {
                let folder = place.open_folder(&sides[side]).ok()?;
                Node::at(&folder, place.name()).unwrap().map(|(node, _)| node)
            });
            Step { place, before, after }
        };
        all.keys().map(step).filter(|step| step.before != step.after).collect()
    }

    fn workspace(&self) -> Workspace {
        Workspace::open(self.workspace.path()).unwrap()
    }

    fn locked(&self) -> Locked {
        journal::lock_in(self.state.path()).unwrap()
    }

    fn journals(&self) -> std::path::PathBuf {
        self.state.path().join("applied")
    }

    /// What `apply` does, but for asking: what was refused, or that it stopped.
    fn apply(&self, steps: Vec<Step>, go_on: &mut dyn FnMut() -> bool) -> Option<Vec<(String, String)>> {
        let workspace = self.workspace();
        let steps = steps.into_iter().filter(|step| !journal::is_there(&workspace.folder, step)).collect();
        let begun = Journal::begin(&self.journals(), "s".into(), &workspace, steps, go_on);
        let (journal, left) = begun.ok()?;
        let mut refused: Vec<_> = left.into_iter().map(|(step, why)| (step.place.into(), why)).collect();
        let (steps, merged) = (&journal.plan.steps, folder(self.merged.path()));
        let mut carrier = Carrier::new(&workspace.folder, &journal.plan.tag);
        let mut done = Done::default();
        let mut tell = |index: usize, why: Option<String>| match why {
            None => drop(done.applied.insert(index)),
            Some(why) => refused.push((steps[index].place.clone().into(), why)),
        };
        match carrier.carry(steps, &in_order(steps), &Merged(&merged), go_on, &mut tell) {
            Ok(()) => {}
            Err(Left::Stopped | Left::Refused(_)) => return None,
        }
        carrier.finish().unwrap();
        journal.end(&done).unwrap();
        Some(refused)
    }

    fn undo(&self, go_on: &mut dyn FnMut() -> bool) -> Option<Vec<(usize, Option<String>)>> {
        let (journal, done) = journal::last(&self.journals())?;
        journal::undo(&journal, &done, &self.workspace(), go_on).ok()
    }

    /// Each path is what it was or what it is to be, whatever lies beside it; only the bits of folders may come last.
    fn each_is_old_or_new(&self, old: &Tree, new: &Tree, when: usize) {
        let now = tree(self.workspace.path());
        for (path, (kind, mode, content)) in &now {
            let fits = |side: &Tree| {
                side.get(path)
                    .is_some_and(|(k, m, c)| (k, c) == (kind, content) && (m == mode || k == "folder"))
            };
            assert!(
                fits(old) || fits(new) || path.contains(".closedpaw-"),
                "at {when}: {path}: {kind} {mode:o}"
            );
        }
        for path in old.keys().filter(|path| new.contains_key(*path)) {
            let inside = path
                .rsplit_once('/')
                .is_some_and(|(folder, _)| now.get(folder).is_none_or(|f| f.0 != "folder"));
            assert!(inside || now.contains_key(path), "at {when}: {path} is neither");
        }
    }
}

type Tree = BTreeMap<String, (String, u32, Vec<u8>)>;

fn until(most: usize) -> impl FnMut() -> bool {
    let mut count = 0;
    move || {
        count += 1;
        count <= most
    }
}

/// Whatever moment an apply is cut off at, each path is old or new; and then it can be undone, or be finished.
#[test]
fn an_apply_that_is_cut_off_anywhere_can_be_undone_or_finished() {
    for when in 0.. {
        let two = Two::full();
        let (old, new) = (tree(two.workspace.path()), tree(two.merged.path()));
        let finished = two.apply(two.steps(), &mut until(when));
        two.each_is_old_or_new(&old, &new, when);
        journal::recover(&two.journals(), &two.locked());
        two.each_is_old_or_new(&old, &new, when);
        let left: Vec<_> =
            tree(two.workspace.path()).into_keys().filter(|path| path.contains(".closedpaw-")).collect();
        assert_eq!(left, Vec::<String>::new(), "at {when}");
        if when % 2 == 0 {
            if let Some(told) = two.undo(&mut || true) {
                assert!(told.iter().all(|(_, why)| why.is_none()), "at {when}: {told:?}");
            }
            assert_eq!(tree(two.workspace.path()), old, "undone at {when}");
        } else {
            assert_eq!(two.apply(two.steps(), &mut || true), Some(vec![]), "at {when}");
            assert_eq!(tree(two.workspace.path()), new, "finished at {when}");
        }
        if let Some(refused) = finished {
            assert!(when > 50 && refused.is_empty(), "{refused:?}");
            return;
        }
    }
}

/// So is an undo, which then is undone by another one.
#[test]
fn an_undo_that_is_cut_off_anywhere_can_be_finished() {
    for when in 0.. {
        let two = Two::full();
        let (old, new) = (tree(two.workspace.path()), tree(two.merged.path()));
        assert_eq!(two.apply(two.steps(), &mut || true), Some(vec![]));
        assert_eq!(tree(two.workspace.path()), new);
        let finished = two.undo(&mut until(when)).is_some();
        two.each_is_old_or_new(&old, &new, when);
        journal::recover(&two.journals(), &two.locked());
        if !finished {
            let told = two.undo(&mut || true).expect("there is still something to undo");
            assert!(told.iter().all(|(_, why)| why.is_none()), "at {when}: {told:?}");
        }
        assert_eq!(tree(two.workspace.path()), old, "at {when}");
        if finished {
            return;
        }
    }
}

/// Whoever writes into the folder meanwhile loses nothing, whatever moment it is.
#[test]
fn an_edit_at_any_moment_is_not_lost() {
    for (path, rename) in
        [("changed", false), ("changed", true), ("removed", false), ("removed", true), ("added", false)]
    {
        for when in 1.. {
            let two = Two::empty();
            let (old, new) = (two.workspace.path(), two.merged.path());
            write(&old.join("changed"), b"old", 0o644);
            write(&new.join("changed"), b"new", 0o644);
            write(&old.join("removed"), b"old", 0o644);
            write(&new.join("added"), b"new", 0o644);
            let mut count = 0;
            let mut edit = || {
                count += 1;
                if count == when {
                    // As an editor saves: in place, or beside and renamed.
                    let target = if rename { old.join("draft") } else { old.join(path) };
                    fs::write(&target, b"an edit of the person's own").unwrap();
                    if rename {
                        fs::rename(target, old.join(path)).unwrap();
                    }
                }
                true
            };
            two.apply(two.steps(), &mut edit).unwrap();
            if count < when {
                assert!(when > 4);
                break;
            }
            let now = fs::read(old.join(path)).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&now), "an edit of the person's own", "{path} at {when}");
            assert!(tree(old).keys().all(|path| !path.contains(".closedpaw-")), "{path} at {when}");
        }
    }
}

/// Row S5: what is not what was shown stays as it is, and nothing beside it is left.
#[test]
fn what_changed_since_it_was_shown_is_refused_by_name() {
    let two = Two::full();
    let steps = two.steps();
    write(&two.merged.path().join("added"), b"something else", 0o644);
    write(&two.workspace.path().join("changed"), b"by the person", 0o644);
    write(&two.workspace.path().join("goes/kept"), b"not shown", 0o644);
    let mut refused = two.apply(steps, &mut || true).unwrap();
    refused.sort();
    let paths: Vec<_> = refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["added", "changed", "goes"], "{refused:?}");
    let now = tree(two.workspace.path());
    assert!(
        !now.contains_key("added")
            && now["changed"].2 == b"by the person"
            && now["goes/kept"].2 == b"not shown"
    );
    assert!(now.keys().all(|path| !path.contains(".closedpaw-")));
    // What was applied is undone; what was changed since is not.
    write(&two.workspace.path().join("script"), b"edited since", 0o755);
    let told = two.undo(&mut || true).unwrap();
    let left: Vec<_> = told.iter().filter(|(_, why)| why.is_some()).collect();
    assert_eq!(left.len(), 1, "{told:?}");
    assert_eq!(tree(two.workspace.path())["script"].2, b"edited since");
    assert_eq!(tree(two.workspace.path())["removed"].2, b"was here");
}

/// Row S5: a folder of the workspace that is a link by now leads nowhere.
#[test]
fn a_planted_link_is_not_followed() {
    let (two, outside) = (Two::empty(), tempfile::tempdir().unwrap());
    write(&two.merged.path().join("folder/file"), b"new", 0o644);
    fs::create_dir(two.workspace.path().join("folder")).unwrap();
    let steps = two.steps();
    fs::remove_dir(two.workspace.path().join("folder")).unwrap();
    symlink(outside.path(), two.workspace.path().join("folder")).unwrap();
    assert_eq!(two.apply(steps, &mut || true).unwrap().len(), 1);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // Nor is one in the session's view.
    let two = Two::empty();
    write(&two.merged.path().join("file"), b"new", 0o644);
    let steps = two.steps();
    write(&outside.path().join("secret"), b"new", 0o644);
    fs::remove_file(two.merged.path().join("file")).unwrap();
    symlink(outside.path().join("secret"), two.merged.path().join("file")).unwrap();
    assert_eq!(two.apply(steps, &mut || true).unwrap().len(), 1);
    assert!(tree(two.workspace.path()).is_empty());
}

/// Row S5: neither bits nor owners nor kinds of files that could do harm by themselves.
#[test]
fn what_is_never_applied_is_named() {
    let two = Two::empty();
    let new = two.merged.path();
    write(&new.join("setuid"), b"x", 0o4755);
    write(&new.join("setgid"), b"x", 0o2755);
    write(&new.join("one"), b"x", 0o644);
    fs::hard_link(new.join("one"), new.join("two")).unwrap();
    nix::unistd::mkfifo(&new.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    drop(std::os::unix::net::UnixListener::bind(new.join("socket")).unwrap());
    symlink("/etc/passwd", new.join("absolute")).unwrap();
    symlink("a/../../b", new.join("up")).unwrap();
    symlink("one", new.join("fine")).unwrap();
    fs::write(new.join(std::ffi::OsStr::from_encoded_bytes(b"\xff")), b"x").unwrap();
    let survey = Survey::of(&folder(new), &folder(two.workspace.path()), 0);
    let refused: Vec<_> = survey
        .entries
        .values()
        .filter(|entry| entry.refused.is_some())
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(refused, ["absolute", "fifo", "one", "setgid", "setuid", "socket", "two", "up", "\u{fffd}"]);
    assert_eq!(survey.entries.len(), refused.len() + 1);
    assert!(!survey.cut);
}

trait FromBytes {
    fn from_encoded_bytes(bytes: &[u8]) -> &Self;
}

impl FromBytes for std::ffi::OsStr {
    fn from_encoded_bytes(bytes: &[u8]) -> &Self {
        std::os::unix::ffi::OsStrExt::from_bytes(bytes)
    }
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop::sample::select(vec![Kind::File, Kind::Folder, Kind::Link, Kind::Special]);
    (kind, 0u32..0o7777, any::<u64>(), any::<[u8; 32]>()).prop_map(|(kind, mode, size, digest)| Node {
        kind,
        mode,
        size,
        digest: Digest(digest),
    })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let entry =
        (prop::option::of(node()), prop::option::of(node()), prop::option::of("[a-z ]{0,9}"), any::<bool>());
    prop::collection::btree_map("\\PC{1,20}", entry, 0..5).prop_map(|entries| Manifest {
        version: 1,
        session: SessionId([1; 16]).to_string(),
        workspace: "/home/me".into(),
        device: 1,
        inode: 2,
        generation: 3,
        cut: false,
        entries: entries
            .into_iter()
            .map(|(path, (before, after, refused, newer))| Entry { path, before, after, refused, newer })
            .collect(),
    })
}

proptest! {
    /// A manifest is read as it was written, and its digest changes with every path and everything about it.
    #[test]
    fn a_manifest_says_what_was_shown(shown in manifest(), flip in any::<prop::sample::Index>()) {
        let text = serde_json::to_vec(&shown).unwrap();
        prop_assert_eq!(Manifest::parse(&text).unwrap(), shown.clone());
        if let Some(entry) = (!shown.entries.is_empty()).then(|| flip.index(shown.entries.len())) {
            let mut others = vec![shown.clone(); 4];
            others[0].entries[entry].path.push('x');
            let mut swapped = others[1].entries[entry].clone();
            std::mem::swap(&mut swapped.before, &mut swapped.after);
            let differs = swapped.before != swapped.after;
            others[1].entries[entry] = swapped;
            let changed = others[2].entries[entry].after.as_mut().map(|node| node.digest.0[31] ^= 1);
            others[3].entries.remove(entry);
            prop_assert_ne!(others[0].digest(), shown.digest());
            prop_assert_eq!(others[1].digest() != shown.digest(), differs);
            prop_assert_eq!(others[2].digest() != shown.digest(), changed.is_some());
            prop_assert_ne!(others[3].digest(), shown.digest());
        }
    }

    #[test]
    fn whatever_is_no_manifest_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Manifest::parse(&bytes), None);
    }

    /// Row S5, `../`: a place is a path that the standard library takes apart into names alone.
    #[test]
    fn a_place_is_plain_names(path in "[a./\\PC]{0,12}") {
        let plain = !path.is_empty()
            && !path.contains('\0')
            && Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)))
            && Path::new(&path).components().collect::<std::path::PathBuf>().as_os_str() == path.as_str();
        prop_assert_eq!(Place::try_from(path).is_ok(), plain);
    }

    /// A link that is made leads, as the kernel follows it, to something below the workspace or to nothing; whatever links lie
    /// on its way.
    #[test]
    fn a_link_that_is_made_stays_inside(text in "(a|b|l|\\.\\.|\\.|/){1,9}") {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("w");
        fs::create_dir_all(root.join("a/b/a/b")).unwrap();
        fs::create_dir_all(root.join("b/a")).unwrap();
        // What else was made, by the same rule: it leads up.
        symlink("..", root.join("a/l")).unwrap();
        symlink("..", root.join("a/b/l")).unwrap();
        let place = Place::try_from("a/b/new".to_owned()).unwrap();
        if place.keeps_inside(text.as_bytes()) {
            symlink(&text, root.join("a/b/new")).unwrap();
            if let Ok(found) = root.join("a/b/new").canonicalize() {
                prop_assert!(found.starts_with(root.canonicalize().unwrap()), "{} leads to {}", text, found.display());
            }
        } else {
            prop_assert!(text.starts_with('/') || text.contains(".."), "{}", text);
        }
    }
}

#[test]
fn nothing_is_opened_through_a_link() {
    let (two, outside) = (Two::empty(), tempfile::tempdir().unwrap());
    symlink(outside.path(), two.workspace.path().join("link")).unwrap();
    write(&outside.path().join("file"), b"x", 0o644);
    write(&two.workspace.path().join("folder/file"), b"x", 0o644);
    symlink("folder", two.workspace.path().join("inner")).unwrap();
    let root = folder(two.workspace.path());
    assert!(open_beneath(&root, "folder/file", OFlags::RDONLY).is_ok());
    for path in ["inner/file", "inner", "link", "link/file", "..", "/etc/passwd", "link/../x"] {
        assert!(open_beneath(&root, path, OFlags::RDONLY).is_err(), "{path}");
    }
}
