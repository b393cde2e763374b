//! What a session changed, for people and for programs.
#![forbid(unsafe_code)]

use super::manifest::{Entry, Manifest};
use super::node::{self, Kind, Node, Stamp};
use super::notable;
use super::patch::{self, Line};
use crate::console::screen;
use serde_json::{Value, json};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

/// How a path differs, as a mark and a word.
pub fn change(entry: &Entry) -> (char, &'static str) {
    match (&entry.before, &entry.after) {
        (None, _) => ('+', "added"),
        (Some(_), None) => ('-', "removed"),
        (Some(_), Some(_)) => ('~', "changed"),
    }
}

/// The path with its mark, and what has to be said about it.
pub fn head(entry: &Entry) -> String {
    let folder = [&entry.after, &entry.before].into_iter().flatten().next();
    let slash = if folder.is_some_and(|node| node.kind == Kind::Folder) { "/" } else { "" };
    let mut said = notable::of(entry);
    said.extend(size(entry));
    let said = if said.is_empty() { String::new() } else { format!("  ({})", said.join("; ")) };
    format!("{} {}{slash}{said}", change(entry).0, screen::visible(&entry.path))
}

fn size(entry: &Entry) -> Option<String> {
    let file =
        |node: &Option<Node>| node.as_ref().filter(|node| node.kind == Kind::File).map(|node| node.size);
    match (file(&entry.before), file(&entry.after)) {
        (Some(before), Some(after)) if before != after => Some(format!("{before} bytes become {after}")),
        (None, Some(size)) => Some(format!("{size} bytes")),
        _ => None,
    }
}

/// Both sides of what is shown.
pub struct Sides<'a> {
    /// As the session saw it.
    pub merged: &'a OwnedFd,
    /// As it is.
    pub workspace: &'a OwnedFd,
}

impl Sides<'_> {
    /// The difference of an entry's two texts, or in words why there is none to show.
    pub fn difference(&self, entry: &Entry) -> Result<Vec<Line>, &'static str> {
        let before = content(self.workspace, entry, entry.before.as_ref())?;
        let after = content(self.merged, entry, entry.after.as_ref())?;
        match (patch::text(&before), patch::text(&after)) {
            (Some(before), Some(after)) => Ok(patch::lines(before, after)),
            _ => Err("binary"),
        }
    }
}

/// What is behind the digest that was kept, and nothing else.
fn content(root: &OwnedFd, entry: &Entry, node: Option<&Node>) -> Result<Vec<u8>, &'static str> {
    let Some(node) = node.filter(|node| matches!(node.kind, Kind::File | Kind::Link)) else {
        return Ok(vec![]);
    };
    if node.size > patch::LONGEST {
        return Err("too long to be shown");
    }
    let bytes = read(root, entry, node).map_err(|_| "it cannot be read")?;
    if closedpaw_protocol::Digest::of(&bytes) != node.digest {
        return Err("it changed while it was shown");
    }
    Ok(bytes)
}

fn read(root: &OwnedFd, entry: &Entry, node: &Node) -> io::Result<Vec<u8>> {
    let place = super::place::Place::try_from(entry.path.clone()).map_err(io::Error::other)?;
    let folder = place.open_folder(root)?;
    if node.kind == Kind::Link {
        return node::link_text(&folder, place.name());
    }
    let stamp = Stamp::of(&folder, place.name())?.ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = Vec::new();
    node::open(&folder, place.name(), &stamp)?.take(patch::LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Shows everything, with the lines that differ unless only the list is wanted.
pub fn all(manifest: &Manifest, sides: &Sides<'_>, list_only: bool) {
    for entry in &manifest.entries {
        screen::out_line(&head(entry), Some("1"));
        if let Some(why) = &entry.refused {
            screen::out_line(&format!("  never applied: {}", screen::visible(why)), Some("31"));
        } else if !list_only {
            differences(entry, sides);
        }
    }
    screen::out_line(&sum(manifest), None);
}

fn differences(entry: &Entry, sides: &Sides<'_>) {
    match sides.difference(entry) {
        Ok(lines) => {
            for Line { sign, text } in lines {
                let (text, colour) = match sign {
                    '@' => (text, Some("36")),
                    '+' => (format!("+{text}"), Some("32")),
                    '-' => (format!("-{text}"), Some("31")),
                    other => (format!("{other}{text}"), None),
                };
                // Set in, so that no line of a file looks like one of the list.
                screen::out_line(&format!("  {}", screen::visible_lines(&text)), colour);
            }
        }
        Err(why) => drop(screen::out_line(&format!("  {why}"), None)),
    }
}

/// How many, and the digest of what was shown.
pub fn sum(manifest: &Manifest) -> String {
    let never = manifest.entries.iter().filter(|entry| entry.refused.is_some()).count();
    let never = if never > 0 { format!(", {never} never applied") } else { String::new() };
    let cut = if manifest.cut { " at least" } else { "" };
    let session = manifest.session.get(..8).unwrap_or(&manifest.session);
    let (count, digest) = (manifest.entries.len(), manifest.digest());
    let s = if count == 1 { "" } else { "s" };
    format!("{count} change{s}{cut}{never} · session {session} · shown: {digest}")
}

/// The same for programs.
pub fn as_json(manifest: &Manifest, sides: &Sides<'_>, list_only: bool) -> Value {
    let changes = manifest.entries.iter().map(|entry| {
        let node = |node: &Option<Node>| {
            node.as_ref().map(|node| {
                json!({
                    "kind": node.kind,
                    "mode": format!("{:04o}", node.mode),
                    "size": node.size,
                    "digest": node.digest.to_string(),
                })
            })
        };
        let lines = (!list_only && entry.refused.is_none()).then(|| sides.difference(entry).ok()).flatten();
        let text = lines.map(|lines| {
            let line = |line: &Line| match line.sign {
                '@' => format!("{}\n", line.text),
                sign => format!("{sign}{}\n", line.text),
            };
            lines.iter().map(line).collect::<String>()
        });
        json!({
            "path": entry.path,
            "change": change(entry).1,
            "before": node(&entry.before),
            "after": node(&entry.after),
            "notes": notable::of(entry),
            "refused": entry.refused,
            "diff": text,
        })
    });
    json!({
        "session": manifest.session,
        "workspace": manifest.workspace,
        "generation": manifest.generation,
        "cut": manifest.cut,
        "digest": manifest.digest().to_string(),
        "changes": changes.collect::<Vec<_>>(),
    })
}
