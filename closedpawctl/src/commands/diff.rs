//! `closedpawctl diff`: what a session wrote, compared with the folder as it is.
#![forbid(unsafe_code)]

use super::json;
use crate::client::Daemon;
use crate::console::screen;
use crate::console::session::Person;
use crate::failure::Failure;
use crate::staged::choose::{self, Workspace};
use crate::staged::manifest::Manifest;
use crate::staged::show::{self, Sides};
use crate::staged::survey::Survey;
use crate::staged::{journal, manifest, origin};
use std::path::PathBuf;

/// What to compare.
#[derive(Debug, Clone, clap::Args)]
pub struct Diff {
    /// Which session's work, or the beginning of its name; the last of this folder's if not given.
    #[arg(long, short, value_name = "SESSION")]
    pub session: Option<String>,
    /// Only the paths and what there is to say about them.
    #[arg(long)]
    pub stat: bool,
    /// Only these, and what is in them.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Shows it, and keeps what was shown for `apply`.
pub async fn run(diff: Diff, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let state = choose::one(&mut connection, diff.session.as_deref()).await?;
    let workspace = Workspace::open(state.workspace.as_ref())?;
    let meant = choose::paths(&diff.paths, &workspace.path)?;
    if manifest::folder().exists() {
        recovered(&journal::recover(&journal::folder(), &journal::lock()?));
    }
    let merged = choose::merged(&mut connection, &state).await?;
    let survey = Survey::begun(&merged, &workspace.folder, state.since, origin::of(state.session));
    let entries: Vec<_> =
        survey.entries.into_values().filter(|entry| choose::is_meant(&entry.path, &meant)).collect();
    let manifest = Manifest::new(state.session, state.generation, &workspace, survey.cut, entries);
    manifest.keep()?;
    let sides = Sides { merged: &merged, workspace: &workspace.folder };
    if as_json {
        json(&show::as_json(&manifest, &sides, diff.stat));
    } else {
        show::all(&manifest, &sides, diff.stat);
    }
    Ok(())
}

/// Says that an earlier command had been cut off.
pub fn recovered(workspaces: &[PathBuf]) {
    for workspace in workspaces {
        let workspace = screen::visible(&workspace.display().to_string());
        screen::err(&format!(
            "· an apply or undo in {workspace} had been cut off; each path is old or new there\n"
        ));
    }
}
