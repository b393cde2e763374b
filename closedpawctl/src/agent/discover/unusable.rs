//! Why there is no model, in a way that the person can do something about.
#![forbid(unsafe_code)]

use std::fmt;

use crate::agent::http::{HttpError, Stage};
use crate::agent::ports::DialError;

/// No endpoint has a usable model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoModel {
    /// What was tried, in order; empty if there was nothing to try.
    pub tried: Vec<Tried>,
}

/// One endpoint that was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The endpoint's label.
    pub label: String,
    /// Why.
    pub why: Unusable,
}

/// Why an endpoint is of no use. Names in it are the server's words: escape them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Start the server, or correct its address.
    #[error("{}", down(*.0))]
    Down(DialError),
    /// Look what keeps the server busy.
    #[error("it takes too long {0}")]
    Slow(Stage),
    /// Look into the server's log.
    #[error("it hangs up without a whole answer")]
    HungUp,
    /// Something else listens there: correct the address, or move it away.
    #[error("something else than a model server answers there")]
    NotAModelServer,
    /// Something claims to be Ollama and does not answer as Ollama does: find out what it is.
    #[error("it claims to be Ollama, but does not answer as Ollama does")]
    Impostor,
    /// Wait until the server has loaded its model.
    #[error("it is still loading its model")]
    Loading,
    /// Pull or load a model.
    #[error("it has no model")]
    NoModels,
    /// Pull the model, or name one of those there.
    #[error("it has no model {name:?}; it has {}", list(.available))]
    ModelMissing {
        /// The model that was asked for.
        name: String,
        /// Those there, the first few.
        available: Vec<String>,
    },
    /// Pull a model that runs on this machine.
    #[error("its model would run elsewhere ({}); prompts stay on this machine", list(.models))]
    CloudOnly {
        /// The models that were left alone.
        models: Vec<String>,
    },
    /// Pull a model that can hold a conversation.
    #[error("its models cannot hold a conversation")]
    CannotChat,
    /// Start the server with a larger context, or choose another model.
    #[error("{model:?} holds {context} tokens; at least {needed} are needed")]
    ContextTooSmall {
        /// The model.
        model: String,
        /// What it holds.
        context: u32,
        /// What is needed.
        needed: u32,
    },
    /// The server wants a key.
    #[error("it wants a key")]
    NeedsKey,
    /// Look into the server's log.
    #[error("it answers with status {0}")]
    Refused(u16),
    /// Correct the configured host or path.
    #[error("its address cannot stand in a request")]
    BadEndpoint,
}

impl Unusable {
    /// A stable number; never reused.
    pub fn code(&self) -> u16 {
        match self {
            Self::Down(_) => 101,
            Self::Slow(_) => 102,
            Self::HungUp => 103,
            Self::NotAModelServer => 104,
            Self::Impostor => 105,
            Self::Loading => 106,
            Self::NoModels => 107,
            Self::ModelMissing { .. } => 108,
            Self::CloudOnly { .. } => 109,
            Self::CannotChat => 110,
            Self::ContextTooSmall { .. } => 111,
            Self::NeedsKey => 112,
            Self::Refused(_) => 113,
            Self::BadEndpoint => 114,
        }
    }

    /// How far it got, so how little the person has to do about it.
    fn hope(&self) -> u8 {
        match self {
            Self::ModelMissing { .. } | Self::CloudOnly { .. } | Self::ContextTooSmall { .. } => 5,
            Self::NoModels | Self::CannotChat | Self::NeedsKey | Self::Loading => 4,
            Self::Slow(_) | Self::HungUp | Self::Refused(_) => 3,
            Self::Impostor | Self::NotAModelServer | Self::BadEndpoint => 2,
            Self::Down(_) => 1,
        }
    }
}

impl NoModel {
    /// A stable number: that of the endpoint that came nearest, or 100 if there was none to try.
    pub fn code(&self) -> u16 {
        let nearest = self
            .tried
            .iter()
            .map(|tried| &tried.why)
            .reduce(|best, why| if why.hope() > best.hope() { why } else { best });
        nearest.map_or(100, Unusable::code)
    }
}

impl fmt::Display for NoModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no usable model was found")?;
        self.tried.iter().try_for_each(|Tried { label, why }| write!(f, "\n  {label}: {why}"))
    }
}

impl std::error::Error for NoModel {}

impl From<HttpError> for Unusable {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Dial(error) => Self::Down(error),
            HttpError::Slow(stage) => Self::Slow(stage),
            HttpError::HungUp | HttpError::CutOff => Self::HungUp,
            HttpError::NotHttp | HttpError::TooLarge => Self::NotAModelServer,
            HttpError::BadEndpoint => Self::BadEndpoint,
        }
    }
}

fn down(error: DialError) -> &'static str {
    match error {
        DialError::Refused => "nothing listens there",
        DialError::Unreachable => "it cannot be reached",
        DialError::TimedOut => "it takes too long to connect",
        DialError::NotAllowed => "connecting to it is not allowed",
        DialError::ConsoleGone => "the console is gone",
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
