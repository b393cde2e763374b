//! What console and agent say to each other, over the one socket pair between them.
//!
//! The agent has read a model's bytes, so the console believes nothing here: it escapes every text, dials only what is
//! on its own list, and gets its questions from the daemon and not from the agent.
#![forbid(unsafe_code)]

use bincode::{Decode, Encode};
use closedpaw_protocol::{KeyId, Revision, SessionId, Tier};

/// The console to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToAgent {
    /// What to do; once, after the agent has said its key.
    Job(Box<Job>),
    /// The answer to a dial; with the connection's descriptor if it worked.
    Dialled(Result<(), Undialled>),
}

/// Why there is no connection to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Undialled {
    /// Nothing listens.
    Refused,
    /// It cannot be reached.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// Not on the list.
    NotAllowed,
}

/// What an agent is for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// The question; none to only look for models.
    pub question: Option<String>,
    /// Whom to talk to.
    pub endpoints: Vec<Place>,
    /// The session it may ask in.
    pub session: Option<Seat>,
}

/// A model server, without its address.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    /// How the person knows it.
    pub label: String,
    /// 0 either, 1 Ollama, 2 OpenAI.
    pub kind: u8,
    /// The `Host` header.
    pub host: String,
    /// What stands before `/v1` or `/api`.
    pub base: String,
    /// The model the person named.
    pub model: Option<String>,
    /// Whether it is the embedded default.
    pub embedded: bool,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Seat {
    /// Its name.
    pub session: SessionId,
    /// The policy at its opening.
    pub revision: Revision,
    /// Its profile.
    pub profile: String,
    /// Its isolation.
    pub isolation: Tier,
    /// The daemon's pinned key.
    pub daemon: KeyId,
}

/// The agent to the console. Every text in it may have been written by anybody.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToConsole {
    /// Confined; and this is the public half of the key it made.
    Ready(KeyId),
    /// Asks for a connection to that endpoint of the list.
    Dial(u32),
    /// Asks for another connection to the daemon, which has hung up.
    DialDaemon,
    /// The model that was found.
    Model {
        /// Where.
        label: String,
        /// Which.
        name: String,
        /// Whether it is the embedded default.
        embedded: bool,
    },
    /// A piece of the answer.
    Token(String),
    /// A passage has ended.
    PassageEnd,
    /// Something the agent itself has to say.
    Note(String),
    /// A tool is asked for.
    Tool(String),
    /// What it puts out, as it comes.
    Output(Vec<u8>),
    /// It has ended, like this.
    ToolEnd {
        /// Whether it did what it was to do.
        good: bool,
        /// In words.
        how: String,
    },
    /// The whole answer was said.
    Done,
    /// There is none.
    Failed {
        /// A stable word.
        code: String,
        /// Why.
        cause: String,
        /// What to do.
        next: String,
        /// The exit status.
        exit: u8,
    },
}
