//! Staged work as tests look at it: what `diff` says, what lies in a folder, what the daemon tells.
#![forbid(unsafe_code)]

use crate::raw::{Raw, Session};
use crate::terminal::says_yes;
use crate::world::{Person, Ran, World};
use closedpaw_protocol::message::{Reply, Request, StagedState};
use closedpaw_protocol::{Action, Digest, Effect};
use ed25519_dalek::SigningKey;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A world with two people who have keys.
pub fn world() -> World {
    World::builder().second_key().build()
}

/// Runs a script in a sandbox, over the person's workspace.
#[track_caller]
pub fn script(person: &Person, text: &str) {
    let shown = says_yes_or_runs(person, text);
    assert_eq!(shown.code, Some(0), "{shown}");
}

/// What runs a script is asked about.
pub fn says_yes_or_runs(person: &Person, text: &str) -> Ran {
    said_yes(person, &["run", "--", "sh", "-c", text])
}

/// `closedpawctl WORDS` at a terminal, with a yes to its question.
pub fn said_yes(person: &Person, words: &[&str]) -> Ran {
    let shown = says_yes(person, words);
    Ran { code: shown.status.code(), out: String::from_utf8_lossy(&shown.out).into_owned(), err: shown.seen }
}

/// What `diff --json` says of each path.
pub fn diff(person: &Person) -> BTreeMap<String, Value> {
    diff_with(person, &[])
}

/// The same of one session's work.
pub fn diff_of(person: &Person, session: &str) -> BTreeMap<String, Value> {
    diff_with(person, &["--session", session])
}

fn diff_with(person: &Person, words: &[&str]) -> BTreeMap<String, Value> {
    let ran = good(person.ctl(&[&["--json", "diff"], words].concat()));
    let changes = ran.json()["changes"].as_array().unwrap().clone();
    changes.into_iter().map(|change| (change["path"].as_str().unwrap().to_owned(), change)).collect()
}

/// What did what it was to do.
#[track_caller]
pub fn good(ran: Ran) -> Ran {
    assert_eq!(ran.code, Some(0), "{ran}");
    ran
}

/// Everything below a folder: kind, bits, and content or where it leads.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let stat = entry.metadata().unwrap();
            let content = if stat.is_dir() {
                folders.push(entry.path());
                vec![]
            } else if stat.is_symlink() {
                fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
            } else if stat.is_file() {
                fs::read(entry.path()).unwrap()
            } else {
                vec![]
            };
            found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), (stat.mode(), content));
        }
    }
    found
}

/// A key's staged work, as the daemon tells it.
pub fn staged(raw: &mut Raw, key: &SigningKey) -> Vec<StagedState> {
    match raw.request(key, &Request::Staged { after: None }, &[]) {
        Ok(Reply::Staged(all)) => all,
        other => panic!("no list: {other:?}"),
    }
}

/// What an apply of a path would have to be.
pub fn an_apply(world: &World, state: &StagedState) -> Action {
    let effect =
        Effect::Apply { generation: state.generation, diff: Digest([7; 32]), paths: vec!["made".to_owned()] };
    Action {
        session: state.session,
        revision: world.status().revision,
        isolation: state.isolation,
        profile: state.profile.clone(),
        effect,
    }
}

/// The merged folder of an open session, as the launcher has it mounted.
pub fn merged(world: &World, session: &Session) -> PathBuf {
    let inside = world.run().join("sandboxes").join(session.opened.sandbox.to_string()).join("merged");
    Path::new("/proc")
        .join(world.daemon_pid().to_string())
        .join("root")
        .join(inside.strip_prefix("/").unwrap())
}
