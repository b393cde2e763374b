//! `closedpawctl apply`: carrying over what `diff` has shown, and nothing else.
//!
//! The daemon decides and writes down; this process, which is the person's own, does it. First what is there now is kept for
//! `undo`, then the daemon is asked, then each path changes in one step, then the daemon is told what came of it.
#![forbid(unsafe_code)]

use super::diff::recovered;
use super::{json, line};
use crate::client::{Connection, Daemon, Unanswered, heads};
use crate::console::prompt;
use crate::console::screen;
use crate::console::session::Person;
use crate::failure::Failure;
use crate::staged::carry::{self, Carrier, Left, Merged, Step};
use crate::staged::choose::{self, Workspace};
use crate::staged::journal::{self, Done, Journal};
use crate::staged::manifest::{Entry, Manifest};
use crate::staged::node::Kind;
use crate::staged::show;
use closedpaw_protocol::message::{Reply, Request, StagedState};
use closedpaw_protocol::{Action, Effect, ErrorCode, Revision};
use serde_json::json;
use std::path::PathBuf;

/// How many bytes of paths go into one action: less than a frame, and what a person's log can say.
const BATCH: usize = 40 * 1024;

/// What to carry over.
#[derive(Debug, Clone, clap::Args)]
pub struct Apply {
    /// Which session's work, or the beginning of its name; the last of this folder's if not given.
    #[arg(long, short, value_name = "SESSION")]
    pub session: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Only these, and what is in them.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What became of the paths.
#[derive(Default)]
struct Report {
    applied: Vec<String>,
    refused: Vec<(String, String)>,
    already: usize,
}

/// Does it.
pub async fn run(apply: Apply, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let state = choose::one(&mut connection, apply.session.as_deref()).await?;
    let shown = Manifest::shown(state.session)?;
    let workspace = Workspace::open(state.workspace.as_ref())?;
    check(&shown, &state, &workspace)?;
    let meant = choose::paths(&apply.paths, &workspace.path)?;
    let chosen = chosen(&shown.entries, &meant)?;
    if !apply.yes {
        confirm(&chosen, &shown, &state)?;
    }
    let locked = journal::lock()?;
    recovered(&journal::recover(&journal::folder(), &locked));
    let merged = choose::merged(&mut connection, &state).await?;
    let work = Work { state: &state, shown: &shown, workspace: &workspace, merged: &merged };
    let (report, result) = work.carry_over(&mut connection, chosen).await?;
    heads::check_and_keep(&mut connection, &person.pinned).await?;
    say(&report, &shown, as_json);
    result?;
    match report.refused.len() {
        0 => Ok(()),
        refused => Err(Failure::new(
            "not-applied",
            75,
            format!("{refused} of the paths were left as they are"),
            "closedpawctl diff shows them as they are now",
        )),
    }
}

/// What was shown is still what there is to apply, and to the same folder.
fn check(shown: &Manifest, state: &StagedState, workspace: &Workspace) -> Result<(), Failure> {
    let same_folder =
        workspace.is(shown.device, shown.inode) && shown.workspace == workspace.path.display().to_string();
    if shown.generation == state.generation && same_folder {
        return Ok(());
    }
    let why =
        if same_folder { "more was done in the session since" } else { "the folder is another one now" };
    Err(closedpaw_protocol::Refusal::because(ErrorCode::StagedChanged, why).into())
}

/// The entries that are meant, with the folders that have to be made for them.
fn chosen<'a>(shown: &'a [Entry], meant: &[String]) -> Result<Vec<&'a Entry>, Failure> {
    let direct: Vec<&Entry> = shown.iter().filter(|entry| choose::is_meant(&entry.path, meant)).collect();
    if direct.is_empty() {
        return Err(Failure::new(
            "not-shown",
            66,
            "diff has shown nothing there",
            "closedpawctl diff, then apply what that shows",
        ));
    }
    let is_folder = |node: &crate::staged::node::Node| node.kind == Kind::Folder;
    let needed = |folder: &&Entry| {
        folder.after.as_ref().is_some_and(is_folder)
            && !folder.before.as_ref().is_some_and(is_folder)
            && direct.iter().any(|entry| entry.path.starts_with(&format!("{}/", folder.path)))
    };
    Ok(shown.iter().filter(|entry| choose::is_meant(&entry.path, meant) || needed(entry)).collect())
}

fn confirm(chosen: &[&Entry], shown: &Manifest, state: &StagedState) -> Result<(), Failure> {
    for entry in chosen {
        screen::err(&format!("{}\n", show::head(entry)));
        if let Some(why) = &entry.refused {
            screen::err(&format!("  never applied: {}\n", screen::visible(why)));
        }
    }
    let place = screen::visible(&state.workspace);
    screen::err(&format!("label  {}\n", screen::visible(&state.label.to_string())));
    screen::err(&format!("shown  {}\n", shown.digest()));
    let s = if chosen.len() == 1 { "" } else { "s" };
    let question = format!("apply {} change{s} to {place}?  [y] yes   [n] no: ", chosen.len());
    match prompt::confirm(&question) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new("answered-no", 77, "nothing was applied", "")),
        None => Err(Failure::new(
            "not-confirmed",
            77,
            "nobody is at a terminal to say yes",
            "closedpawctl apply --yes, if you have read what diff shows",
        )),
    }
}

struct Work<'a> {
    state: &'a StagedState,
    shown: &'a Manifest,
    workspace: &'a Workspace,
    merged: &'a std::os::fd::OwnedFd,
}

impl Work<'_> {
    /// Carries them over: what became of them, and what stopped it if something did.
    async fn carry_over(
        &self,
        connection: &mut Connection,
        chosen: Vec<&Entry>,
    ) -> Result<(Report, Result<(), Failure>), Failure> {
        let mut report = Report::default();
        let mut steps = Vec::new();
        for entry in chosen {
            match entry.place() {
                Some(place) => {
                    steps.push(Step { place, before: entry.before.clone(), after: entry.after.clone() });
                }
                None => report.refused.push((entry.path.clone(), entry.refused.clone().unwrap_or_default())),
            }
        }
        let count = steps.len();
        steps.retain(|step| !journal::is_there(&self.workspace.folder, step));
        report.already = count - steps.len();
        if steps.is_empty() {
            return Ok((report, Ok(())));
        }
        let folder = journal::folder();
        let (journal, left) =
            Journal::begin(&folder, self.shown.session.clone(), self.workspace, steps, &mut || true)?;
        report.refused.extend(left.into_iter().map(|(step, why)| (step.place.into(), why)));
        let (done, result) = self.carry(connection, &journal, &mut report).await;
        if done.applied.is_empty() {
            journal.forget();
        } else {
            journal.end(&done)?;
            journal::forget_old(&folder);
        }
        Ok((report, result))
    }

    /// One grant after the other, each for as many paths as an action can name.
    async fn carry(
        &self,
        connection: &mut Connection,
        journal: &Journal,
        report: &mut Report,
    ) -> (Done, Result<(), Failure>) {
        let steps = &journal.plan.steps;
        let mut carrier = Carrier::new(&self.workspace.folder, &journal.plan.tag);
        let mut done = Done::default();
        let mut result = Ok(());
        for batch in batches(steps) {
            let paths: Vec<String> = batch
                .iter()
                .filter_map(|index| steps.get(*index))
                .map(|step| step.place.clone().into())
                .collect();
            let intent = match self.granted(connection, paths).await {
                Ok(intent) => intent,
                Err(failure) => {
                    result = Err(failure);
                    break;
                }
            };
            let (before, mut refused) = (done.applied.len(), 0_u32);
            let mut tell = |index: usize, why: Option<String>| {
                let path = steps.get(index).map(|step| String::from(step.place.clone())).unwrap_or_default();
                match why {
                    None => {
                        done.applied.insert(index);
                        report.applied.push(path);
                    }
                    Some(why) => {
                        refused += 1;
                        report.refused.push((path, why));
                    }
                }
            };
            if let Err(Left::Stopped | Left::Refused(_)) =
                carrier.carry(steps, &batch, &Merged(self.merged), &mut || true, &mut tell)
            {
                result = Err(Failure::interrupted());
            }
            let applied = u32::try_from(done.applied.len() - before).unwrap_or(u32::MAX);
            let said = connection.request(&Request::Applied { intent, applied, refused }, &[]).await;
            if let Err(unanswered) = said {
                result = Err(unanswered.into());
            }
            if result.is_err() {
                break;
            }
        }
        let finished = carrier.finish().map_err(|error| Failure::file(&self.workspace.path, error));
        (done, result.and(finished))
    }

    /// The daemon's yes: policy has decided, and the intent is on disk.
    async fn granted(&self, connection: &mut Connection, paths: Vec<String>) -> Result<u64, Failure> {
        let effect = Effect::Apply { generation: self.shown.generation, diff: self.shown.digest(), paths };
        let mut action = Action {
            session: self.state.session,
            revision: revision(connection).await?,
            isolation: self.state.isolation,
            profile: self.state.profile.clone(),
            effect,
        };
        loop {
            match connection.request(&Request::Apply { action: action.clone() }, &[]).await {
                Ok((Reply::Applying { intent, .. }, _)) => return Ok(intent),
                Ok(_) => return Err(Failure::lost("another answer than to an apply")),
                Err(Unanswered::Refused(refusal)) if refusal.code == ErrorCode::PolicyChanged => {
                    action.revision = revision(connection).await?;
                }
                Err(unanswered) => return Err(unanswered.into()),
            }
        }
    }
}

async fn revision(connection: &mut Connection) -> Result<Revision, Failure> {
    match connection.request(&Request::Status, &[]).await? {
        (Reply::Status(status), _) => Ok(status.revision),
        _ => Err(Failure::lost("another answer than a status")),
    }
}

/// In the order in which they can be done, as many at a time as an action can name.
fn batches(steps: &[Step]) -> Vec<Vec<usize>> {
    let (mut batches, mut length) = (vec![Vec::new()], 0);
    for index in carry::in_order(steps) {
        let more = steps.get(index).map_or(0, |step| step.place.as_str().len() + 8);
        if length > 0 && length + more > BATCH {
            batches.push(Vec::new());
            length = 0;
        }
        length += more;
        if let Some(batch) = batches.last_mut() {
            batch.push(index);
        }
    }
    batches
}

fn say(report: &Report, shown: &Manifest, as_json: bool) {
    if as_json {
        let refused: Vec<_> =
            report.refused.iter().map(|(path, why)| json!({ "path": path, "reason": why })).collect();
        return json(&json!({
            "session": shown.session,
            "workspace": shown.workspace,
            "shown": shown.digest().to_string(),
            "applied": report.applied,
            "already": report.already,
            "refused": refused,
        }));
    }
    for (path, why) in &report.refused {
        line(&format!("! {path}: {why}"));
    }
    let already =
        if report.already > 0 { format!(", {} were so already", report.already) } else { String::new() };
    let undo = if report.applied.is_empty() { "" } else { " · closedpawctl undo takes it back" };
    line(&format!("applied {}{already}{undo}", report.applied.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged::place::Place;
    use proptest::prelude::*;

    proptest! {
        /// Every path is in exactly one action, each action fits a frame, and no path comes before the folder it is in.
        #[test]
        fn every_path_is_asked_for_once_and_every_action_fits(names in prop::collection::btree_set("[a-z]{1,9}(/[a-z]{1,200}){0,4}", 1..400)) {
            let step = |name: &String| Step { place: Place::try_from(name.clone()).unwrap(), before: None, after: None };
            let steps: Vec<Step> = names.iter().map(step).collect();
            let batches = batches(&steps);
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..steps.len()).collect::<Vec<_>>());
            for batch in batches {
                let paths = batch.iter().map(|index| steps[*index].place.clone().into()).collect();
                let effect = Effect::Apply { generation: 1, diff: closedpaw_protocol::Digest([0; 32]), paths };
                prop_assert!(closedpaw_protocol::encode(&effect).is_some_and(|bytes| bytes.len() < 60 * 1024));
            }
        }
    }
}
