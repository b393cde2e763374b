//! What the agent is given by the rest of the client, and all it can reach.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::tools::ToolCall;

/// A connected byte stream to a model server.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream of whichever kind the console dialled (TCP on loopback, or a Unix socket).
pub type BoxStream = Box<dyn Stream>;

/// Dials for the agent, which cannot: `endpoint` is an index into the console's own list, never an address.
pub trait Dial {
    /// A fresh connection to that endpoint. Dropping the future gives up.
    fn dial(&mut self, endpoint: usize) -> impl Future<Output = Result<BoxStream, DialError>>;
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DialError {
    /// Nothing listens there: start the model server.
    Refused,
    /// The address cannot be reached, or the socket file is missing.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// The console's list has no such endpoint, or it will not dial it.
    NotAllowed,
    /// The console is gone; nothing can be dialled any more.
    ConsoleGone,
}

/// Which format a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Ollama's own `/api/chat`.
    Ollama,
    /// OpenAI's `/v1/chat/completions`.
    OpenAi,
    /// Not known: Ollama is asked for first, because only it answers `/api/version`.
    Either,
}

/// One candidate of the console's list. It carries no address: the console keeps that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// How the person knows it, such as `Ollama at 127.0.0.1:11434`.
    pub label: String,
    /// Which format to speak.
    pub kind: Kind,
    /// The `Host` header to send.
    pub host_header: String,
    /// What stands before `/v1` or `/api`; usually empty.
    pub base_path: String,
    /// The model the person named. It wins, and its absence makes the endpoint unusable.
    pub model: Option<String>,
    /// True for the embedded default, which is driven by schema steps.
    pub embedded: bool,
}

/// Does the tools' work. Each call is one signed request that the daemon may refuse.
pub trait Hands {
    /// Does it and waits for the end. Dropping the future stops the work.
    fn call(&mut self, call: &ToolCall) -> impl Future<Output = ToolResult>;
}

/// How a tool call ended. Its text was written by others and is never trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolResult {
    /// It worked; a command ended with 0.
    Done {
        /// What it printed, read or listed; not valid UTF-8 is replaced.
        text: String,
    },
    /// It was carried out and did not work.
    Failed {
        /// How it failed.
        failure: Failure,
        /// What it printed before.
        text: String,
    },
    /// It was refused. The agent learns a stable code, never which rule would have allowed it.
    Denied {
        /// The daemon's stable error code.
        code: u16,
    },
    /// The person said stop: the conversation ends here.
    Stopped,
    /// The daemon cannot be reached any more: the conversation ends here.
    Lost,
}

/// How a tool that ran has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The command ended with this code, not 0.
    Exit(i32),
    /// The command was killed by this signal.
    Signal(i32),
    /// The command ran longer than it may.
    TimedOut,
    /// The program could not be started: it is not in the sandbox.
    NotStarted,
    /// No such file or folder.
    NotFound,
    /// The file is there and cannot be read or written so: a folder, a device, no right.
    NotPossible,
    /// More than the tool may carry.
    TooLarge,
    /// It used up the memory that there is for it.
    NoMemory,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut => f.write_str("took too long and was stopped"),
            Self::NotStarted => f.write_str("could not be started: no such program"),
            Self::NotFound => f.write_str("found no such file or folder"),
            Self::NotPossible => f.write_str("is not possible with this file"),
            Self::TooLarge => f.write_str("met more than it may carry"),
            Self::NoMemory => f.write_str("used up its memory"),
        }
    }
}

/// What the person sees. Text is passed on raw: escaping is the console's job, which trusts none of it.
pub trait Voice {
    /// A piece of the model's answer, as it arrives.
    fn token(&mut self, text: &str);
    /// The model has finished a passage; a tool or another passage may follow.
    fn passage_end(&mut self);
    /// A piece of the model's thinking. It is no answer and may be left out.
    fn thinking(&mut self, text: &str);
    /// Something the agent itself has to say.
    fn note(&mut self, note: &Note);
    /// A tool is about to be asked for.
    fn tool_start(&mut self, call: &ToolCall);
    /// It has ended.
    fn tool_end(&mut self, call: &ToolCall, result: &ToolResult);
}

/// What the agent itself tells the person. The fields may hold a server's words: escape them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A server is up and still loads its model.
    Loading {
        /// The endpoint's label.
        label: String,
    },
    /// An endpoint offered a model that runs elsewhere; it was left alone.
    CloudModelSkipped {
        /// The endpoint's label.
        label: String,
        /// The model's name.
        model: String,
    },
    /// The server cannot do tool calls with this model: schema steps are used instead.
    StepsInstead,
    /// A tool's output was longer than fits; the model saw its beginning and end.
    OutputCut {
        /// Bytes it had.
        bytes: usize,
        /// Bytes the model saw.
        kept: usize,
    },
    /// Earlier questions were left out to make room.
    HistoryDropped {
        /// How many questions with their answers.
        exchanges: usize,
    },
    /// A tool the model asked for did not work. The agent says so, whatever the model makes of it.
    ToolFailed {
        /// The call.
        call: ToolCall,
        /// How it failed.
        failure: Failure,
    },
    /// The model asked for a tool in a way that cannot be understood.
    BadCall {
        /// What was wrong.
        reason: String,
    },
    /// The answer ended at its length limit.
    AnswerCut,
    /// The server failed and is asked again.
    Retrying,
}
