//! The command line: what was typed, and what it means.
#![forbid(unsafe_code)]

use crate::client::Daemon;
use crate::commands;
use crate::console::{ask, child, screen};
use crate::failure::Failure;
use clap::{Parser, Subcommand};
use closedpaw_descriptors::handover::take_over;
use std::path::PathBuf;
use std::process::ExitCode;

/// An AI assistant whose model is never trusted: it asks, policy and you decide, a sandbox does the work.
#[derive(Debug, Parser)]
#[command(
    name = "closedpawctl",
    version,
    after_help = "Examples:\n  closedpawctl ask \"How many lines do the files in this folder have?\"\n  closedpawctl run -- ls -l\n  closedpawctl audit verify"
)]
struct Arguments {
    /// The daemon's socket.
    #[arg(
        long,
        global = true,
        env = "CLOSEDPAW_SOCKET",
        value_name = "PATH",
        default_value = "/run/closedpaw/closedpawd.sock"
    )]
    socket: PathBuf,
    /// Print JSON where the command reads something.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the assistant; it may use tools in a sandbox.
    #[command(
        after_help = "Example:\n  closedpawctl ask \"What does this project do?\" --workspace ~/src/project"
    )]
    Ask(ask::Ask),
    /// Run a command in a sandbox, without a model; its exit status is passed through.
    #[command(
        after_help = "Examples:\n  closedpawctl run -- wc -l README.md\n  closedpawctl run --tty -- bash"
    )]
    Run(commands::run::Run),
    /// What a session wrote, compared with the folder as it is.
    #[command(after_help = "Example:\n  closedpawctl diff --stat")]
    Diff(commands::diff::Diff),
    /// Carry over what diff has shown to the real files.
    #[command(after_help = "Example:\n  closedpawctl apply src/main.rs")]
    Apply(commands::apply::Apply),
    /// Take the last apply back.
    #[command(after_help = "Example:\n  closedpawctl undo")]
    Undo,
    /// What sessions wrote and nobody has discarded yet.
    #[command(after_help = "Example:\n  closedpawctl staged --json")]
    Staged,
    /// Throw away what a session wrote.
    #[command(after_help = "Example:\n  closedpawctl discard --all")]
    Discard(commands::staged::Discard),
    /// The open questions: list them, say yes or no.
    #[command(subcommand, after_help = "Example:\n  closedpawctl approvals list")]
    Approvals(commands::approvals::Word),
    /// Say each question as it comes, each decision, each stop; until it is ended.
    #[command(
        after_help = "Example:\n  closedpawctl watch --notify\n\nIn the background, from now on and at every login:\n  systemctl --user enable --now closedpaw"
    )]
    Watch(commands::watch::Watch),
    /// The audit log: read it, follow it, check it.
    #[command(subcommand, after_help = "Example:\n  closedpawctl audit verify")]
    Audit(commands::audit::Word),
    /// Your sandboxes: list them, end one.
    #[command(subcommand, after_help = "Example:\n  closedpawctl sandbox list")]
    Sandbox(commands::sandbox::Word),
    /// Stop everything of yours at once, and keep it stopped.
    #[command(
        after_help = "Example:\n  closedpawctl stop\n\nIt stays so, over restarts too, until:\n  closedpawctl start"
    )]
    Stop(commands::stop::Whose),
    /// Let work begin again after a stop.
    #[command(after_help = "Example:\n  closedpawctl start")]
    Start(commands::stop::Whose),
    /// Keys: make yours, enrol it, list and revoke.
    #[command(
        subcommand,
        after_help = "Example:\n  closedpawctl key generate\n  sudo closedpawctl key enroll --name anna --uid 1000 --public HEX"
    )]
    Key(commands::key::Word),
    /// Policy: check files, explain a decision, run tables of cases.
    #[command(subcommand, after_help = "Example:\n  closedpawctl policy explain exec -- rm -rf /workspace")]
    Policy(commands::policy::Word),
    /// Models: fetch the embedded one, list what is there.
    #[command(subcommand, after_help = "Example:\n  closedpawctl model list")]
    Model(commands::model::Word),
    /// Look at everything that has to be right, and say what is not.
    #[command(after_help = "Example:\n  closedpawctl doctor --json")]
    Doctor,
    /// The daemon's state.
    #[command(after_help = "Example:\n  closedpawctl status")]
    Status,
    /// The confined half of this program.
    #[command(name = child::WORD, hide = true)]
    Agent {
        /// How many descriptors were handed over.
        descriptors: u8,
    },
}

/// Does what the command line says; the one place that turns a failure into an exit status.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Agent { descriptors } = arguments.command {
        return agent(descriptors);
    }
    // A program's state that keys pass through is not for others to read.
    let _ = nix::sys::prctl::set_dumpable(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let Ok(runtime) = runtime else { return ExitCode::from(71) };
    let json = arguments.json;
    let result = tokio::task::LocalSet::new().block_on(&runtime, dispatch(arguments));
    // A thread may still wait for a person who will not answer any more.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report(&failure, json);
            ExitCode::from(failure.exit)
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<u8, Failure> {
    let daemon = Daemon::at(&arguments.socket);
    let json = arguments.json;
    match arguments.command {
        Command::Ask(ask) => ask::run(ask, &daemon).await.map(|()| 0),
        Command::Run(run) => commands::run::run(run, &daemon).await,
        Command::Diff(diff) => commands::diff::run(diff, &daemon, json).await.map(|()| 0),
        Command::Apply(apply) => commands::apply::run(apply, &daemon, json).await.map(|()| 0),
        Command::Undo => commands::undo::run(json).map(|()| 0),
        Command::Staged => commands::staged::list(&daemon, json).await.map(|()| 0),
        Command::Discard(discard) => commands::staged::discard(discard, &daemon).await.map(|()| 0),
        Command::Approvals(word) => commands::approvals::run(word, &daemon, json).await.map(|()| 0),
        Command::Watch(watch) => commands::watch::run(&watch, &daemon, json).await.map(|()| 0),
        Command::Audit(word) => commands::audit::run(word, &daemon, json).await.map(|()| 0),
        Command::Sandbox(word) => commands::sandbox::run(word, &daemon, json).await.map(|()| 0),
        Command::Stop(whose) => commands::stop::stop(&whose, &daemon).await.map(|()| 0),
        Command::Start(whose) => commands::stop::start(&whose, &daemon).await.map(|()| 0),
        Command::Key(word) => commands::key::run(word, &daemon, json).await.map(|()| 0),
        Command::Policy(word) => commands::policy::run(word, &daemon, json),
        Command::Model(word) => commands::model::run(word, json).await.map(|()| 0),
        Command::Doctor => commands::doctor::run(&daemon, json).await,
        Command::Status => commands::status::run(&daemon, json).await.map(|()| 0),
        // Taken care of before there was a runtime.
        Command::Agent { .. } => Ok(64),
    }
}

fn agent(descriptors: u8) -> ExitCode {
    let Ok(link) = take_over(3) else { return ExitCode::from(64) };
    let daemon = if descriptors > 1 { take_over(4).ok() } else { None };
    crate::agent::process::main(link, daemon)
}

fn report(failure: &Failure, json: bool) {
    if json {
        let error = serde_json::json!({"error": {"code": failure.code, "cause": failure.cause, "next": failure.next}});
        screen::err(&format!("{}\n", commands::escaped(&error.to_string())));
    } else {
        screen::err(&format!("closedpawctl: {}\n", screen::visible_lines(&failure.to_string())));
    }
}
