//! `closedpawctl sandbox`: what is running, and ending it.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::Daemon;
use crate::console::session::Person;
use crate::failure::Failure;
use closedpaw_protocol::message::{Reply, Request, SandboxState, Stage};
use closedpaw_protocol::relay::Gate;
use closedpaw_protocol::{ErrorCode, Refusal};
use serde_json::json;

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Show yours.
    #[command(after_help = "Example:\n  closedpawctl sandbox list --json")]
    List,
    /// Show what is known of one: what its start gate found from inside, and what it did not.
    #[command(after_help = "Example:\n  closedpawctl sandbox inspect 3f2a…")]
    Inspect {
        /// Its id, or the beginning of one.
        id: String,
    },
    /// Save what runs in one, between two commands: memory and processes, not files.
    #[command(
        after_help = "It stays in memory, counts as the sandbox's own, and goes with the session; what was saved before is gone.\n\nExample:\n  closedpawctl sandbox checkpoint 3f2a…"
    )]
    Checkpoint {
        /// Its id, or the beginning of one.
        id: String,
    },
    /// Go back to what was saved, in the place of what runs now; files stay as they are.
    #[command(after_help = "Example:\n  closedpawctl sandbox restore 3f2a…")]
    Restore {
        /// The id of one of the session's, or the beginning of it.
        id: String,
    },
    /// End one, and its session.
    #[command(after_help = "Example:\n  closedpawctl sandbox kill 3f2a…")]
    Kill {
        /// Its id, or the beginning of one.
        id: String,
    },
}

/// Does it.
pub async fn run(word: Word, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let (Reply::Sandboxes(sandboxes), _) = connection.request(&Request::Sandboxes, &[]).await? else {
        return Err(Failure::lost("another answer than sandboxes"));
    };
    match word {
        Word::List => list(&sandboxes, as_json),
        Word::Inspect { id } => {
            let sandbox = one(&sandboxes, &id)?;
            let (Reply::Status(status), _) = connection.request(&Request::Status, &[]).await? else {
                return Err(Failure::lost("another answer than the state"));
            };
            inspect(sandbox, &status.missing, as_json);
        }
        Word::Checkpoint { id } => {
            let sandbox = one(&sandboxes, &id)?.id;
            connection.request(&Request::Checkpoint { sandbox }, &[]).await?;
            line(&format!("saved: closedpawctl sandbox restore {} goes back to it", sandbox.short()));
        }
        Word::Restore { id } => {
            let sandbox = one(&sandboxes, &id)?.id;
            connection.request(&Request::Restore { sandbox }, &[]).await?;
            line("restored: what was saved runs in the place of what ran until now");
        }
        Word::Kill { id } => {
            let sandbox = one(&sandboxes, &id)?;
            connection.request(&Request::Kill { sandbox: sandbox.id }, &[]).await?;
            line(&format!("{} was ended", sandbox.id));
        }
    }
    Ok(())
}

/// The only one whose name begins like that.
fn one<'a>(sandboxes: &'a [SandboxState], id: &str) -> Result<&'a SandboxState, Failure> {
    let mut fitting =
        sandboxes.iter().filter(|sandbox| id.len() >= 4 && sandbox.id.to_string().starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some(sandbox), None) => Ok(sandbox),
        _ => Err(Refusal::from(ErrorCode::UnknownSandbox).into()),
    }
}

/// What a start gate looks for, and whether it was found.
fn findings(sandbox: &SandboxState) -> Option<Vec<(&'static str, bool)>> {
    let found = sandbox.found?;
    Some(Gate::NAMES.iter().map(|(bit, name)| (*name, found & bit != 0)).collect())
}

/// With the limits that the host cannot keep any sandbox to.
fn inspect(sandbox: &SandboxState, missing: &[String], as_json: bool) {
    if as_json {
        let mut all = in_json(sandbox);
        if let Some(fields) = all.as_object_mut() {
            fields.insert("unlimited".to_owned(), json!(missing));
        }
        return json(&all);
    }
    list(std::slice::from_ref(sandbox), false);
    match findings(sandbox) {
        Some(findings) => findings
            .iter()
            .for_each(|(name, found)| line(&format!("  {} {name}", if *found { "✓" } else { "·" }))),
        None => line("  nothing was found from inside yet"),
    }
    if !sandbox.devices.is_empty() {
        line(&format!("  devices of the host: {}", sandbox.devices.join(", ")));
    }
    if !missing.is_empty() {
        line(&format!("  this host cannot limit: {}", missing.join(", ")));
    }
}

fn in_json(sandbox: &SandboxState) -> serde_json::Value {
    let found = findings(sandbox).map(|all| {
        all.into_iter()
            .map(|(name, found)| (name.to_owned(), json!(found)))
            .collect::<serde_json::Map<_, _>>()
    });
    json!({
        "id": sandbox.id.to_string(),
        "session": sandbox.session.to_string(),
        "isolation": sandbox.isolation.name(),
        "profile": sandbox.profile,
        "stage": stage(sandbox.stage),
        "workspace": sandbox.workspace,
        "running": sandbox.running,
        "label": sandbox.label.to_string(),
        "since": sandbox.since,
        "found": found,
        "devices": sandbox.devices,
    })
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Ready => "ready",
        Stage::Clean => "clean",
        Stage::Stopped => "stopped",
        Stage::Ended => "ended",
    }
}

fn list(sandboxes: &[SandboxState], as_json: bool) {
    if as_json {
        let all: Vec<_> = sandboxes.iter().map(in_json).collect();
        return json(&json!(all));
    }
    if sandboxes.is_empty() {
        return line("no sandboxes");
    }
    for sandbox in sandboxes {
        line(&format!(
            "{}  {:<8} {}/{}  {} running  {}  [{}]",
            sandbox.id,
            stage(sandbox.stage),
            sandbox.isolation.name(),
            sandbox.profile,
            sandbox.running,
            if sandbox.workspace.is_empty() { "(no workspace)" } else { &sandbox.workspace },
            sandbox.label,
        ));
    }
}
