//! Staged work that another session begins with.

use super::{Two, folder, tree, until, write};
use crate::staged::fork::{Fork, Stuck};
use crate::staged::manifest::Entry;
use crate::staged::survey::{Bar, Survey};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A workspace, what a session sees, and what another session on the same folder does: a copy of the folder as it is.
struct Three {
    two: Two,
    other: TempDir,
}

fn copy(from: &Path, to: &Path, how: &[&str]) {
    assert!(Command::new("cp").arg("-a").args(how).arg(from.join(".")).arg(to).status().unwrap().success());
}

impl Three {
    /// The session's view is made after the folder, as a layer is.
    fn new(made: Two) -> Self {
        let mut two = Two::empty();
        two.workspace = made.workspace;
        copy(made.merged.path(), two.merged.path(), &[]);
        let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        // A file with several names is one of its own in an overlay as soon as it is written (Documentation/filesystems/overlayfs.rst).
        copy(two.workspace.path(), other.path(), &["--no-preserve=links"]);
        Self { two, other }
    }

    fn compare(&self, view: &Path) -> Survey {
        Survey::of(&folder(view), &folder(self.two.workspace.path()), 0)
    }

    /// What `diff` shows of a view: every path with what is to be said of it.
    fn shown(&self, view: &Path) -> BTreeMap<String, Entry> {
        self.compare(view).entries
    }

    fn fork(&self) -> Result<Fork, Stuck> {
        Fork::of(self.compare(self.two.merged.path()))
    }

    fn carry(&self, fork: &Fork, go_on: &mut dyn FnMut() -> bool) -> Result<(), Stuck> {
        fork.carry(&folder(self.two.merged.path()), &folder(self.other.path()), "0123456789abcdef", go_on)
    }
}

/// Every kind of change, and what is never applied to a folder.
fn awkward() -> Three {
    let two = Two::full();
    let (old, new) = (two.workspace.path(), two.merged.path());
    write(&new.join("setuid"), b"x", 0o4755);
    write(&new.join("setgid"), b"x", 0o2755);
    symlink("/etc/passwd", new.join("absolute")).unwrap();
    symlink("a/../../b", new.join("up")).unwrap();
    // Two names of a file of the session's; another name of one that is as it was; one name of one that had two.
    write(&new.join("one"), b"several", 0o640);
    fs::hard_link(new.join("one"), new.join("comes/two")).unwrap();
    write(&old.join("as-it-was"), b"same", 0o644);
    write(&new.join("as-it-was"), b"same", 0o644);
    fs::hard_link(new.join("as-it-was"), new.join("another-name")).unwrap();
    write(&old.join("had-two"), b"old", 0o644);
    fs::hard_link(old.join("had-two"), old.join("had-two-still")).unwrap();
    write(&new.join("had-two"), b"new", 0o644);
    write(&new.join("had-two-still"), b"old", 0o644);
    write(&new.join(".git/hooks/pre-commit"), b"#!/bin/sh\n", 0o755);
    // A link that becomes a folder, a folder a link.
    symlink("changed", old.join("link-to-folder")).unwrap();
    write(&new.join("link-to-folder/file"), b"x", 0o644);
    write(&old.join("folder-to-link/deep/er"), b"x", 0o644);
    symlink("changed", new.join("folder-to-link")).unwrap();
    Three::new(two)
}

/// What `diff` shows of the one it shows of the other, word for word; and the one stays as it was.
#[test]
fn a_fork_has_all_of_the_work() {
    let three = awkward();
    let (merged, other) = (three.two.merged.path(), three.other.path());
    let before = (tree(merged), three.shown(merged));
    three.carry(&three.fork().unwrap(), &mut || true).unwrap();
    assert!(before.1.len() > 60, "{}", before.1.len());
    assert_eq!(three.shown(other), before.1);
    assert_eq!(tree(merged), before.0);
    let inode = |path: &str| fs::metadata(other.join(path)).unwrap().ino();
    assert_eq!((inode("one"), inode("as-it-was")), (inode("comes/two"), inode("another-name")));
    assert!(tree(other).keys().all(|path| !path.contains(".closedpaw-")));
    // Whoever builds by what is newer finds the same times.
    let written = |root: &Path| fs::metadata(root.join("changed")).unwrap().modified().unwrap();
    assert_eq!(written(other), written(merged));
}

/// Row S5: what is another one by then, on either side, stops it; whatever moment it is, nothing is taken for what it is not.
#[test]
fn what_changes_meanwhile_stops_a_fork() {
    for (theirs, path) in [(true, "changed"), (true, "added"), (false, "changed"), (false, "removed")] {
        for when in 1.. {
            let three = Three::new({
                let two = Two::empty();
                write(&two.workspace.path().join("changed"), b"old", 0o644);
                write(&two.workspace.path().join("removed"), b"old", 0o644);
                write(&two.merged.path().join("changed"), b"new", 0o644);
                write(&two.merged.path().join("added"), b"new", 0o644);
                two
            });
            let fork = three.fork().unwrap();
            let side = if theirs { three.two.merged.path() } else { three.other.path() };
            let mut count = 0;
            let mut edit = || {
                count += 1;
                if count == when {
                    fs::write(side.join(path), b"another").unwrap();
                }
                true
            };
            let carried = three.carry(&fork, &mut edit);
            if count < when {
                assert_eq!((carried, when > 4), (Ok(()), true));
                break;
            }
            if theirs && carried.is_ok() {
                // It had been carried over by then.
                let now = |path: &str| fs::read(three.other.path().join(path)).ok();
                assert_eq!((now("changed"), now("added")), (Some(b"new".into()), Some(b"new".into())));
            }
            if when == 1 {
                assert_eq!(carried.unwrap_err().path, path);
            }
        }
    }
}

/// It stops at the first path that cannot be carried over, and whatever it had done by then, the source is as it was.
#[test]
fn a_fork_that_is_cut_off_anywhere_leaves_the_source_as_it_was() {
    for when in 0.. {
        let three = awkward();
        let before = tree(three.two.merged.path());
        let carried = three.carry(&three.fork().unwrap(), &mut until(when * 9));
        assert_eq!(tree(three.two.merged.path()), before, "at {when}");
        if carried.is_ok() {
            assert!(when > 5);
            return;
        }
    }
}

/// What cannot be copied, or nobody knows to be the session's, is named before there is a fork.
#[test]
fn what_cannot_be_carried_over_is_named() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 5] = [
        ("fifo", |at| nix::unistd::mkfifo(&at.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("socket", |at| drop(std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap())),
        ("\u{fffd}", |at| {
            fs::create_dir(at.join(<std::ffi::OsStr as super::FromBytes>::from_encoded_bytes(b"\xff")))
                .unwrap();
        }),
        ("huge", |at| fs::File::create(at.join("huge")).unwrap().set_len((1 << 30) + 1).unwrap()),
        ("unseen", |_| {}),
    ];
    for (path, make) in cases {
        let three = Three::new(Two::empty());
        write(&three.two.merged.path().join("fine"), b"x", 0o644);
        make(three.two.merged.path());
        let mut survey = three.compare(three.two.merged.path());
        if path == "unseen" {
            // Younger than the session by whatever the clock tells apart.
            write(&three.two.workspace.path().join(path), b"x", 0o644);
            until_newer(&three.two);
            survey = three.compare(three.two.merged.path());
        }
        let stuck = Fork::of(survey).unwrap_err();
        assert_eq!(stuck.path, path, "{stuck:?}");
    }
    let three = Three::new(Two::empty());
    let mut survey = three.compare(three.two.merged.path());
    assert!(three.fork().unwrap().is_empty());
    survey.cut = true;
    assert!(Fork::of(survey).is_err());
}

/// The clock that files' times are from has ticked since the session began.
fn until_newer(two: &Two) {
    let root = folder(two.merged.path());
    let since = crate::staged::node::birth(&root).unwrap_or_default();
    let unseen = two.workspace.path().join("unseen");
    loop {
        fs::set_permissions(&unseen, fs::Permissions::from_mode(0o644)).unwrap();
        let stat = fs::metadata(&unseen).unwrap();
        if (stat.ctime(), u32::try_from(stat.ctime_nsec()).unwrap()) > since {
            return;
        }
    }
}

/// What the folder alone has changed the other session sees by itself.
#[test]
fn what_only_the_folder_changed_is_not_carried_over() {
    let three = awkward();
    let mut survey = three.compare(three.two.merged.path());
    let count = survey.entries.len();
    survey.bars.insert("changed".to_owned(), Bar::Stale);
    survey.bars.insert("one".to_owned(), Bar::Stale);
    let stuck = Fork::of(survey).unwrap_err();
    assert_eq!(stuck.path, "comes/two", "its other name is not the session's work");
    let mut survey = three.compare(three.two.merged.path());
    survey.bars.insert("changed".to_owned(), Bar::Stale);
    let fork = Fork::of(survey).unwrap();
    assert_eq!(fork.len(), count - 1);
    three.carry(&fork, &mut || true).unwrap();
    assert_eq!(fs::read(three.other.path().join("changed")).unwrap(), b"old");
}

/// That the folder's side is newer than the work is still said when the work has come into a newer session.
#[test]
fn what_is_newer_than_the_work_is_called_out_in_the_fork_too() {
    let three = awkward();
    let (view, workspace) = (folder(three.two.merged.path()), folder(three.two.workspace.path()));
    let newer = |begun| {
        let survey = Survey::begun(&view, &workspace, 0, begun);
        (survey.entries["changed"].newer, survey.beginning())
    };
    let (own, beginning) = newer(None);
    assert!(!own);
    assert_eq!(newer(Some((1, 2))), (true, (1, 2)));
    // A time that is later than the session's own beginning says nothing.
    assert_eq!(newer(Some((i64::MAX, 0))), (false, beginning));
}

#[derive(Debug, Clone)]
enum Made {
    File(u8, u32),
    Link(&'static str),
    Folder(u32),
    Name(String),
}

fn place() -> impl Strategy<Value = String> {
    "[abc](/[abc]){0,2}"
}

fn made() -> impl Strategy<Value = (String, Made)> {
    let bits = prop::sample::select(vec![0o644, 0o600, 0o755, 0o4755, 0o444]);
    let texts = prop::sample::select(vec!["a", "../a", "/etc/passwd", "a/../../b", "nowhere"]);
    let made = prop_oneof![
        4 => (0u8..3, bits).prop_map(|(content, bits)| Made::File(content, bits)),
        1 => texts.prop_map(Made::Link),
        1 => prop::sample::select(vec![0o755, 0o700, 0o777]).prop_map(Made::Folder),
        2 => place().prop_map(Made::Name),
    ];
    (place(), made)
}

/// Makes what can be made, in this order.
fn make(root: &Path, all: &[(String, Made)]) {
    for (path, made) in all {
        let path = root.join(path);
        drop(fs::create_dir_all(path.parent().unwrap()));
        if let Made::File(..) | Made::Link(_) | Made::Name(_) = made {
            drop(fs::remove_file(&path));
        }
        let mode = |mode: u32| drop(fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        match made {
            Made::File(content, bits) if fs::write(&path, [*content]).is_ok() => mode(*bits),
            Made::Folder(bits) if fs::create_dir(&path).is_ok() => mode(*bits),
            Made::Link(text) => drop(symlink(text, &path)),
            Made::Name(other) if fs::symlink_metadata(root.join(other)).is_ok_and(|stat| stat.is_file()) => {
                drop(fs::hard_link(root.join(other), &path));
            }
            Made::File(..) | Made::Folder(_) | Made::Name(_) => {}
        }
    }
}

proptest! {
    /// Whatever a session made of whatever there was: either the fork shows the same, or it is said why there is none.
    #[test]
    fn a_fork_shows_what_the_session_showed(
        was in prop::collection::vec(made(), 0..14),
        is in prop::collection::vec(made(), 0..14),
        kept in any::<bool>(),
    ) {
        let two = Two::empty();
        make(two.workspace.path(), &was);
        if kept {
            make(two.merged.path(), &was);
        }
        make(two.merged.path(), &is);
        let three = Three::new(two);
        match three.fork() {
            Ok(fork) => {
                prop_assert_eq!(three.carry(&fork, &mut || true), Ok(()));
                let (merged, other) = (three.two.merged.path(), three.other.path());
                prop_assert_eq!(three.shown(other), three.shown(merged));
            }
            Err(stuck) => prop_assert!(stuck.why.contains("hard link"), "{:?}", stuck),
        }
    }
}
