//! The agent's hands: each tool call is one signed request, decided by the daemon and done in the sandbox.
#![forbid(unsafe_code)]

use super::ports::{Failure as How, Hands, ToolResult};
use super::process::{Console, Line};
use super::tools::ToolCall;
use crate::client::{Connection, Unanswered};
use crate::link::{Seat, ToConsole};
use crate::work::{self, Said};
use closedpaw_descriptors::sealed::seal;
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Digest, Effect, ErrorCode, Sealed, Stdin};
use std::os::fd::OwnedFd;

/// Where the workspace lies inside.
const WORKSPACE: &str = "/workspace";

/// The most of a tool's output that is kept for the model; the rest is shown to the person and counted.
const KEPT: usize = 1 << 20;

/// A session at the daemon.
pub struct Daemon {
    connection: Connection,
    seat: Seat,
    console: Console,
    line: Line,
}

impl Daemon {
    /// On a connection on which the agent's key speaks.
    pub fn new(connection: Connection, seat: Seat, console: Console, line: Line) -> Self {
        Self { connection, seat, console, line }
    }

    /// Ends the connection's use; the console closes the session when it has looked at what changed.
    pub async fn close(self) {
        drop(self);
    }

    async fn run(&mut self, effect: Effect, sealed: Option<OwnedFd>) -> Result<ToolResult, Unanswered> {
        let program = matches!(effect, Effect::Exec { .. });
        let Self { connection, seat, line, .. } = self;
        let running = work::insist(connection, seat, &effect, sealed.as_ref(), || line.again()).await?;
        let (mut listening, feeding) = running.split();
        let mut kept = Vec::new();
        let exit = loop {
            match listening.next().await {
                Said::Stdout(bytes) | Said::Stderr(bytes) => {
                    let room = KEPT.saturating_sub(kept.len());
                    kept.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
                    self.console.say(ToConsole::Output(bytes));
                }
                Said::Exit(exit) => break exit,
            }
        };
        drop(feeding);
        let text = String::from_utf8_lossy(&kept).into_owned();
        Ok(result(exit, program, text))
    }
}

fn result(exit: Exit, program: bool, text: String) -> ToolResult {
    let failure = match exit {
        Exit::Status(0) => return ToolResult::Done { text },
        Exit::Status(code) if program => How::Exit(code.into()),
        Exit::Status(_) if text.contains("No such file or directory") => How::NotFound,
        Exit::Status(_) => How::NotPossible,
        Exit::Signal(signal) => How::Signal(signal.into()),
        Exit::NotStarted(_) => How::NotStarted,
        Exit::Timeout => How::TimedOut,
        Exit::OutputLimit => How::TooLarge,
        Exit::MemoryLimit => How::NoMemory,
        Exit::ProcessLimit => return ToolResult::Lost,
        Exit::Mismatch => return ToolResult::Denied { code: ErrorCode::ApprovalMismatch.number() },
        Exit::SandboxGone => return ToolResult::Lost,
    };
    ToolResult::Failed { failure, text }
}

/// The effect that a tool call comes to, and its sealed input.
fn effect(call: &ToolCall) -> Result<(Effect, Option<OwnedFd>), Unanswered> {
    let inside = |path: &str| if path == "." { WORKSPACE.to_owned() } else { format!("{WORKSPACE}/{path}") };
    Ok(match call {
        ToolCall::Run { argv } => {
            let argv = argv.words().to_vec();
            (Effect::Exec { argv, cwd: WORKSPACE.to_owned(), env: Vec::new(), stdin: Stdin::Empty }, None)
        }
        ToolCall::ReadFile { path } => (Effect::Read { path: inside(path.as_str()) }, None),
        ToolCall::ListFiles { path } => (Effect::List { path: inside(path.as_str()) }, None),
        ToolCall::WriteFile { path, content } => {
            let bytes = content.as_str().as_bytes();
            let file = seal(bytes).map_err(|error| Unanswered::Lost(crate::failure::Failure::lost(error)))?;
            let content = Sealed { length: bytes.len() as u64, digest: Digest::of(bytes) };
            (Effect::Write { path: inside(path.as_str()), content }, Some(file))
        }
    })
}

impl Hands for Daemon {
    async fn call(&mut self, call: &ToolCall) -> ToolResult {
        let done = match effect(call) {
            Ok((effect, sealed)) => self.run(effect, sealed).await,
            Err(unanswered) => Err(unanswered),
        };
        match done {
            Ok(result) => result,
            Err(Unanswered::Refused(refusal)) => match refusal.code {
                ErrorCode::Halted | ErrorCode::SessionEnded => ToolResult::Stopped,
                ErrorCode::SandboxGone | ErrorCode::SandboxFailed | ErrorCode::GateFailed => {
                    self.console.say(ToConsole::Note(refusal.to_string()));
                    ToolResult::Lost
                }
                code => ToolResult::Denied { code: code.number() },
            },
            Err(Unanswered::Lost(_) | Unanswered::Unasked(_)) => ToolResult::Lost,
        }
    }
}
