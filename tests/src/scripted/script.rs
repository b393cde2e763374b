//! What a scripted server says, and how it fails.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All that a server does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Which format it speaks.
    pub format: Format,
    /// The models it lists; one that can do everything if left out.
    #[serde(default = "one_card")]
    pub models: Vec<Card>,
    /// What it answers to chat requests, one after the other.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// After the last turn: that one again, for ever. Else an error says that the script is over.
    #[serde(default)]
    pub repeat: bool,
    /// So many requests are answered `503 Loading model` before the first true answer.
    #[serde(default)]
    pub loading: usize,
    /// A fault of everything but chat: an impostor, a slow or a broken server.
    #[serde(default)]
    pub fault: Option<Fault>,
}

/// Which format a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Ollama's own.
    Ollama,
    /// OpenAI's chat completions, as llama-server speaks them.
    OpenAi,
}

/// A model in the server's list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Ollama: what it can do; left out as by old versions if none.
    pub capabilities: Option<Vec<String>>,
    /// What it can hold.
    pub context: u32,
    /// Ollama: such as `7.6B`.
    pub parameter_size: String,
    /// Ollama: set if it runs elsewhere.
    pub remote_host: Option<String>,
    /// Ollama: the list of models does not say so.
    pub remote_hidden: bool,
}

impl Default for Card {
    fn default() -> Self {
        Self {
            name: "scripted:8b".into(),
            capabilities: Some(vec!["completion".into(), "tools".into()]),
            context: 32_768,
            parameter_size: "8.0B".into(),
            remote_host: None,
            remote_hidden: false,
        }
    }
}

fn one_card() -> Vec<Card> {
    vec![Card::default()]
}

/// One answer and how it fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// What is said.
    #[serde(flatten)]
    pub say: Say,
    /// How it fails, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What is said.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// A text.
    Text(String),
    /// Thinking, and then a text.
    Thought(String, String),
    /// Tool calls.
    Calls(Vec<Call>),
    /// A schema step, as JSON text.
    Step(Value),
    /// Does what the last message says with `!do TOOL ARGUMENTS` or `!say TEXT` on a line, by tool call or
    /// schema step as the request asks; else it says this.
    Obey(String),
    /// Whatever this makes of the request.
    #[serde(skip)]
    With(Arc<dyn Fn(&Value) -> Say + Send + Sync>),
}

impl fmt::Debug for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Thought(thought, text) => f.debug_tuple("Thought").field(thought).field(text).finish(),
            Self::Calls(calls) => f.debug_tuple("Calls").field(calls).finish(),
            Self::Step(step) => f.debug_tuple("Step").field(step).finish(),
            Self::Obey(text) => f.debug_tuple("Obey").field(text).finish(),
            Self::With(_) => f.write_str("With(..)"),
        }
    }
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
}

/// How a response fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing comes for so many milliseconds, or until the client hangs up.
    SlowFirstByte(u64),
    /// Half of it comes, and nothing more until the client hangs up.
    Stall,
    /// Each byte comes alone.
    ByteByByte,
    /// What is no JSON comes in the middle.
    Garbage,
    /// A line comes in the middle and never ends.
    EndlessLine,
    /// The first piece comes again and again.
    EndlessStream,
    /// This status, with this text as the error.
    Status(u16, String),
    /// An error comes in the middle, under status 200.
    ErrorMidStream(String),
    /// The connection is closed in the middle.
    CutByClose,
    /// The response ends in the middle as if it were whole.
    CutByEnd,
    /// The model reaches its limit in the middle: the reason is `length`, and a call's arguments are half.
    CutByLength,
    /// The arguments of the calls are padded with so many bytes.
    HugeArguments(usize),
    /// The last line is missing: `[DONE]`, or Ollama's `done`.
    NoDone,
    /// All of it comes under a wrong content type.
    ContentType(String),
    /// The connection is closed before a byte.
    HangUp,
    /// Another protocol's greeting comes.
    NotHttp,
    /// A web page comes.
    Impostor,
}

impl Script {
    /// A script with one model and these turns.
    pub fn new(format: Format, turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns = turns.into_iter().collect();
        Self { format, models: one_card(), turns, repeat: false, loading: 0, fault: None }
    }
}

impl Say {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// One tool call.
    pub fn call(name: &str, arguments: Value) -> Self {
        Self::Calls(vec![Call { name: name.to_owned(), arguments }])
    }

    /// A schema step.
    pub fn step(tool: &str, args: Value) -> Self {
        Self::Step(serde_json::json!({ "tool": tool, "args": args }))
    }

    /// Whatever this makes of the request.
    pub fn with(says: impl Fn(&Value) -> Self + Send + Sync + 'static) -> Self {
        Self::With(Arc::new(says))
    }

    /// It fails like this.
    pub fn failing(self, fault: Fault) -> Turn {
        Turn { say: self, fault: Some(fault) }
    }
}

impl From<Say> for Turn {
    fn from(say: Say) -> Self {
        Self { say, fault: None }
    }
}
