//! `closedpawctl sandbox`: what is running, and ending it.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::Daemon;
use crate::console::session::Person;
use crate::failure::Failure;
use closedpaw_protocol::message::{Reply, Request, SandboxState, Stage};
use closedpaw_protocol::{ErrorCode, Refusal};
use serde_json::json;

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Show yours.
    #[command(after_help = "Example:\n  closedpawctl sandbox list --json")]
    List,
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
        Word::Kill { id } => {
            let unknown = || Failure::from(Refusal::from(ErrorCode::UnknownSandbox));
            let mut fitting =
                sandboxes.iter().filter(|sandbox| id.len() >= 4 && sandbox.id.to_string().starts_with(&id));
            let (Some(sandbox), None) = (fitting.next(), fitting.next()) else { return Err(unknown()) };
            connection.request(&Request::Kill { sandbox: sandbox.id }, &[]).await?;
            line(&format!("{} was ended", sandbox.id));
        }
    }
    Ok(())
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Ready => "ready",
        Stage::Ended => "ended",
    }
}

fn list(sandboxes: &[SandboxState], as_json: bool) {
    if as_json {
        let all: Vec<_> = sandboxes
            .iter()
            .map(|sandbox| {
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
                })
            })
            .collect();
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
