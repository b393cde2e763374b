//! What was shown: every path with what it was and what it would be. A later `apply` is bound to it.
#![forbid(unsafe_code)]

use super::node::{Kind, Node};
use super::place::Place;
use crate::failure::Failure;
use crate::places;
use closedpaw_protocol::{Digest, SessionId};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Keeps digests of what was shown apart from every other use of BLAKE3 here.
const CONTEXT: &str = "closedpaw 2026-11 staged diff v1";

/// The form of the file.
const VERSION: u32 = 1;

/// How long a manifest is kept: a day longer than what it is about.
const KEPT: Duration = Duration::from_secs(8 * 24 * 3600);

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Relative to the workspace; where it is no text, the nearest text.
    pub path: String,
    /// What is in the workspace.
    pub before: Option<Node>,
    /// What the session made of it.
    pub after: Option<Node>,
    /// Why it is never carried over, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether the workspace's side is newer than the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newer: bool,
}

impl Entry {
    /// Where it would be carried to; none if it never is.
    pub fn place(&self) -> Option<Place> {
        if self.refused.is_some() { None } else { Place::try_from(self.path.clone()).ok() }
    }
}

/// All that was shown of a session's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Whose work.
    pub session: String,
    /// The workspace's path, and which folder that was.
    pub workspace: String,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// How many pieces of work the session had done by then.
    pub generation: u64,
    /// Whether there is more that was not looked at.
    pub cut: bool,
    /// By path.
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// With what was found.
    pub fn new(
        session: SessionId,
        generation: u64,
        workspace: &super::choose::Workspace,
        cut: bool,
        entries: Vec<Entry>,
    ) -> Self {
        Self {
            version: VERSION,
            session: session.to_string(),
            workspace: workspace.path.display().to_string(),
            device: workspace.device,
            inode: workspace.inode,
            generation,
            cut,
            entries,
        }
    }

    /// The digest of the list of paths and of what each was and would be.
    pub fn digest(&self) -> Digest {
        Digest(blake3::derive_key(CONTEXT, &self.canonical()))
    }

    /// For each path: its length (u32) and bytes, then what it was, then what it would be; of each a kind (0 for nothing,
    /// 1 file, 2 folder, 3 link, 4 else), the mode (u32), the size (u64) and the digest. Numbers are big-endian.
    fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len() * 160);
        for entry in &self.entries {
            bytes.extend(u32::try_from(entry.path.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(entry.path.as_bytes());
            for node in [&entry.before, &entry.after] {
                let kind = node.as_ref().map_or(0, |node| match node.kind {
                    Kind::File => 1,
                    Kind::Folder => 2,
                    Kind::Link => 3,
                    Kind::Special => 4,
                });
                let (mode, size, digest) =
                    node.as_ref().map_or((0, 0, [0; 32]), |node| (node.mode, node.size, node.digest.0));
                bytes.push(kind);
                bytes.extend(mode.to_be_bytes());
                bytes.extend(size.to_be_bytes());
                bytes.extend(digest);
            }
        }
        bytes
    }

    /// Reads a manifest; whatever is not one is refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(text).ok()?;
        let rising = manifest.entries.windows(2).all(|pair| matches!(pair, [a, b] if a.path < b.path));
        (manifest.version == VERSION && rising).then_some(manifest)
    }

    /// Keeps it until something else is shown, or too long ago.
    pub fn keep(&self) -> Result<(), Failure> {
        let path = path(&self.session);
        forget_old();
        let text = serde_json::to_vec(self).map_err(|error| Failure::file(&path, error))?;
        places::write_private(&path, &text).map_err(|error| Failure::file(&path, error))
    }

    /// What was shown last of a session's work.
    pub fn shown(session: SessionId) -> Result<Self, Failure> {
        let path = path(&session.to_string());
        let not_shown = || {
            Failure::new(
                "not-shown",
                66,
                "nothing of this work was shown yet",
                "closedpawctl diff, then apply what that shows",
            )
        };
        let text = fs::read(&path).map_err(|_| not_shown())?;
        let manifest = Self::parse(&text).filter(|manifest| manifest.session == session.to_string());
        manifest.ok_or_else(not_shown)
    }

    /// Forgets what was shown of a session's work.
    pub fn forget(session: SessionId) {
        drop(fs::remove_file(path(&session.to_string())));
    }
}

/// Where everything about staged work lies.
pub fn folder() -> PathBuf {
    places::state().join("staged")
}

fn path(session: &str) -> PathBuf {
    folder().join(format!("{session}.json"))
}

/// What was shown of work that is no more.
fn forget_old() {
    for entry in fs::read_dir(folder()).into_iter().flatten().flatten() {
        let path = entry.path();
        let old = entry
            .metadata()
            .and_then(|found| found.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > KEPT));
        if old && path.extension().is_some_and(|ending| ending == "json") {
            drop(fs::remove_file(path));
        }
    }
}
