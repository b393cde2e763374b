//! `closedpawctl model`: the embedded model's weights, and what servers there are.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::console::ask::{ModelChoice, ready};
use crate::console::child::Agent;
use crate::console::embedded;
use crate::console::endpoints::{self, Endpoint};
use crate::failure::Failure;
use crate::link::{Job, ToAgent, ToConsole, Undialled};
use crate::weights::{self, Progress, QWEN_0_5B, Sources, Stage};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Fetch the embedded model's weights and compare them with their pin.
    #[command(
        after_help = "Example:\n  closedpawctl model fetch --from ~/Downloads/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    )]
    Fetch {
        /// A file you already have.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Look for model servers in the order in which `ask` does.
    #[command(after_help = "Example:\n  closedpawctl model list --json")]
    List(ModelChoice),
}

/// Does it.
pub async fn run(word: Word, as_json: bool) -> Result<(), Failure> {
    match word {
        Word::Fetch { from } => fetch(from),
        Word::List(choice) => list(&choice, as_json).await,
    }
}

fn fetch(from: Option<PathBuf>) -> Result<(), Failure> {
    let bar = ProgressBar::new(QWEN_0_5B.bytes);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut show = |progress: Progress<'_>| {
        let stage = match progress.stage {
            Stage::Waiting => "waiting for another fetch",
            Stage::Receiving => "receiving",
            Stage::Verifying => "verifying",
        };
        bar.set_message(format!("{stage}: {}", progress.source));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let fetched = weights::fetch(&QWEN_0_5B, &Sources::usual(from), &mut show);
    bar.finish_and_clear();
    let path = fetched.map_err(|error| Failure::new("weights", error.exit_code(), error.to_string(), ""))?;
    line(&format!("{}: verified", path.display()));
    Ok(())
}

/// Looks at each place by itself, so that every one is reported and not only the first that works.
async fn list(choice: &ModelChoice, as_json: bool) -> Result<(), Failure> {
    let endpoints = endpoints::list(choice.model_url.as_deref(), choice.model.as_deref())?;
    let mut found = Vec::new();
    for endpoint in &endpoints {
        let label = endpoint.place().label;
        found.push(match look(endpoint).await {
            Ok(name) => (label, true, name),
            Err(failure) => (label, false, failure.cause.replace('\n', "; ")),
        });
    }
    if choice.model_url.is_none() && !endpoints.iter().any(Endpoint::is_embedded) {
        let why = match embedded::program() {
            None => "its program is not installed".to_owned(),
            Some(_) => "its weights are missing: closedpawctl model fetch".to_owned(),
        };
        found.push(("the embedded model".to_owned(), false, why));
    }
    if as_json {
        let all: Vec<_> = found
            .iter()
            .map(|(label, usable, what)| {
                if *usable {
                    json!({"at": label, "model": what})
                } else {
                    json!({"at": label, "unusable": what})
                }
            })
            .collect();
        json(&json!(all));
    } else {
        for (label, usable, what) in &found {
            line(&format!("{} {label}: {what}", if *usable { "✓" } else { "·" }));
        }
    }
    Ok(())
}

/// What a server says is read by a confined agent, never here.
async fn look(endpoint: &Endpoint) -> Result<String, Failure> {
    let mut agent = Agent::start(None)?;
    ready(&mut agent).await?;
    let job = Job { question: None, endpoints: vec![endpoint.place()], session: None };
    agent.tell(&ToAgent::Job(Box::new(job)), None).await;
    let mut name = String::new();
    while let Some(message) = agent.next().await {
        match message {
            ToConsole::Dial(0) => match endpoint.dial() {
                Ok(descriptor) => agent.tell(&ToAgent::Dialled(Ok(())), Some(&descriptor)).await,
                Err(why) => agent.tell(&ToAgent::Dialled(Err(why)), None).await,
            },
            ToConsole::Dial(_) | ToConsole::DialDaemon => {
                agent.tell(&ToAgent::Dialled(Err(Undialled::NotAllowed)), None).await;
            }
            ToConsole::Model { name: found, .. } => name = found,
            ToConsole::Done => return Ok(name),
            ToConsole::Failed { cause, next, exit, .. } => {
                return Err(Failure::new("no-model", exit, cause, next));
            }
            ToConsole::Ready(_)
            | ToConsole::Token(_)
            | ToConsole::PassageEnd
            | ToConsole::Note(_)
            | ToConsole::Tool(_)
            | ToConsole::Output(_)
            | ToConsole::ToolEnd { .. } => {}
        }
    }
    Err(Failure::new("agent", 70, "the agent ended without an answer", ""))
}
