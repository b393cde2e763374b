//! Why a question has no answer, in a way that the person can do something about.
#![forbid(unsafe_code)]

use crate::agent::chat::TurnError;
use crate::agent::http::{HttpError, Stage};
use crate::agent::ports::DialError;
use crate::agent::wire::WireError;

/// Why there is no answer. Words in it are the server's: escape them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Start the model server again.
    #[error("the model server cannot be reached any more ({0:?})")]
    Unreachable(DialError),
    /// Give it more time, or take a smaller model.
    #[error("the model server takes too long {0}")]
    Slow(Stage),
    /// Look into the server's log; ask again.
    #[error("the model server hung up in the middle of its answer")]
    BrokenOff,
    /// Look whether it is the server that it is said to be.
    #[error("the model server's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The server sends without end, or more than an answer can be.
    #[error("the model server sends more than it may: {0}")]
    TooLarge(&'static str),
    /// The server's own words say what to do.
    #[error("the model server reports: {0}")]
    Server(String),
    /// The server's own words say what to do.
    #[error("the model server refuses with status {status}: {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        words: String,
    },
    /// Wait until the model has loaded, and ask again.
    #[error("the model server is still loading its model")]
    Loading,
    /// Wait a little, and ask again.
    #[error("the model server is busy")]
    Busy,
    /// The server wants a key.
    #[error("the model server wants a key")]
    NeedsKey,
    /// Look whether it is the server that it is said to be.
    #[error("something else than a model server answers")]
    NotAModelServer,
    /// Ask a shorter question, begin a new conversation, or take a model that holds more.
    #[error(
        "the model cannot hold this conversation: it needs about {needed} tokens and there are {context}"
    )]
    ContextTooSmall {
        /// What is there.
        context: u32,
        /// What would be needed, by estimate; 0 if only the server knows.
        needed: u32,
    },
    /// Ask in another way, or take a larger model.
    #[error("the model gave no answer")]
    NoAnswer,
    /// Ask for less at once.
    #[error("the answer was cut off at its length limit before it said anything")]
    CutOff,
    /// Ask for less at once.
    #[error("the model was not done after {0} turns")]
    TooManyTurns(usize),
    /// Ask for less at once.
    #[error("the model wanted more than {0} tool calls")]
    TooManyCalls(usize),
    /// Begin a new conversation.
    #[error("the conversation has used up what it may send and receive")]
    BudgetSpent,
    /// The person said stop.
    #[error("stopped")]
    Stopped,
    /// Look whether the daemon runs.
    #[error("the daemon cannot be reached any more")]
    HandsLost,
    /// Correct the configured host or path.
    #[error("the model server's address cannot stand in a request")]
    BadEndpoint,
}

impl AskError {
    /// A stable number; never reused.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unreachable(_) => 201,
            Self::Slow(_) => 202,
            Self::BrokenOff => 203,
            Self::Nonsense(_) => 204,
            Self::TooLarge(_) => 205,
            Self::Server(_) => 206,
            Self::Refused { .. } => 207,
            Self::Loading => 208,
            Self::Busy => 209,
            Self::NeedsKey => 210,
            Self::NotAModelServer => 211,
            Self::ContextTooSmall { .. } => 212,
            Self::NoAnswer => 213,
            Self::CutOff => 214,
            Self::TooManyTurns(_) => 215,
            Self::TooManyCalls(_) => 216,
            Self::BudgetSpent => 217,
            Self::Stopped => 218,
            Self::HandsLost => 219,
            Self::BadEndpoint => 220,
        }
    }
}

impl AskError {
    /// What is left to say when a turn could not be had, not even by asking again.
    pub(super) fn of_turn(error: TurnError, context: u32) -> Self {
        match error {
            TurnError::Http(error) => Self::of_http(error),
            TurnError::Wire(error) => match error {
                WireError::CutOff => Self::BrokenOff,
                WireError::Nonsense(what) => Self::Nonsense(what),
                WireError::TooLarge(what) => Self::TooLarge(what),
                WireError::Server(words) => Self::Server(words),
            },
            TurnError::Loading => Self::Loading,
            TurnError::Busy => Self::Busy,
            TurnError::TooLong => Self::ContextTooSmall { context, needed: 0 },
            TurnError::NeedsKey => Self::NeedsKey,
            TurnError::NoTools { status, words } | TurnError::Refused { status, words } => {
                Self::Refused { status, words }
            }
            TurnError::NotAModelServer => Self::NotAModelServer,
        }
    }

    fn of_http(error: HttpError) -> Self {
        match error {
            HttpError::Dial(error) => Self::Unreachable(error),
            HttpError::Slow(stage) => Self::Slow(stage),
            HttpError::HungUp | HttpError::CutOff => Self::BrokenOff,
            HttpError::NotHttp => Self::NotAModelServer,
            HttpError::TooLarge => Self::TooLarge("a document"),
            HttpError::BadEndpoint => Self::BadEndpoint,
        }
    }
}
