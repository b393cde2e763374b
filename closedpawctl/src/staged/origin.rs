//! Since when there is work that a session began with: what is newer in the folder than that is called out, as it was in the
//! session that the work comes from.
#![forbid(unsafe_code)]

use super::manifest;
use super::survey::Time;
use crate::failure::Failure;
use crate::places;
use closedpaw_protocol::SessionId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// What is kept of it, beside what was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    /// Whose work it was.
    from: String,
    seconds: i64,
    nanoseconds: u32,
}

/// Keeps that a session began with work of another one's, and when that work began.
pub fn keep(session: SessionId, from: SessionId, begun: Time) -> Result<(), Failure> {
    let path = path(session);
    let origin = Origin { from: from.to_string(), seconds: begun.0, nanoseconds: begun.1 };
    let text = serde_json::to_vec(&origin).map_err(|error| Failure::file(&path, error))?;
    places::write_private(&path, &text).map_err(|error| Failure::file(&path, error))
}

/// When the work began that a session began with, if it began with any.
pub fn of(session: SessionId) -> Option<Time> {
    let origin: Origin = serde_json::from_slice(&fs::read(path(session)).ok()?).ok()?;
    Some((origin.seconds, origin.nanoseconds))
}

/// Forgets it.
pub fn forget(session: SessionId) {
    drop(fs::remove_file(path(session)));
}

fn path(session: SessionId) -> PathBuf {
    manifest::folder().join(format!("{session}.from.json"))
}
