//! `closedpawctl undo`: taking the last apply back. It needs no daemon: what was there before is kept in the state folder.
#![forbid(unsafe_code)]

use super::diff::recovered;
use super::{json, line};
use crate::failure::Failure;
use crate::staged::choose::Workspace;
use crate::staged::journal;
use serde_json::json;

/// Does it.
pub fn run(as_json: bool) -> Result<(), Failure> {
    let locked = journal::lock()?;
    let folder = journal::folder();
    recovered(&journal::recover(&folder, &locked));
    let Some((journal, done)) = journal::last(&folder) else {
        let cause = "there is no apply to undo";
        return Err(Failure::new("nothing-applied", 66, cause, "closedpawctl staged lists what is staged"));
    };
    let workspace = Workspace::open(&journal.plan.workspace)?;
    if !workspace.is(journal.plan.device, journal.plan.inode) {
        let cause = format!("{} is another folder now", workspace.path.display());
        return Err(Failure::new(
            "another-folder",
            75,
            cause,
            "what was there before lies in your state folder",
        ));
    }
    let told = journal::undo(&journal, &done, &workspace, &mut || true)?;
    let path =
        |index: usize| journal.plan.steps.get(index).map(|step| step.place.as_str()).unwrap_or_default();
    let refused: Vec<(&str, &str)> =
        told.iter().filter_map(|(index, why)| Some((path(*index), why.as_deref()?))).collect();
    let undone = told.len() - refused.len();
    if as_json {
        let refused: Vec<_> =
            refused.iter().map(|(path, why)| json!({ "path": path, "reason": why })).collect();
        json(&json!({ "workspace": journal.plan.workspace, "undone": undone, "refused": refused }));
    } else {
        refused.iter().for_each(|(path, why)| line(&format!("! {path}: {why}")));
        line(&format!("undid {undone} in {}", journal.plan.workspace.display()));
    }
    match refused.len() {
        0 => {
            journal.forget();
            Ok(())
        }
        left => {
            let next = format!("what was there before: {}", journal.kept_in().display());
            Err(Failure::new("not-undone", 75, format!("{left} of the paths were left as they are"), next))
        }
    }
}
