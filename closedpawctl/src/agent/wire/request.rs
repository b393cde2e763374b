//! The bodies of chat requests. Their beginning stays the same from turn to turn, so that a server finds what
//! it has computed already.
#![forbid(unsafe_code)]

mod ollama;
mod openai;
#[cfg(test)]
mod tests;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::agent::tools::Tool;

/// One message of the conversation, for every format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Our own rules.
    System(String),
    /// The person's words, or what stands for them.
    User(String),
    /// What the model said.
    Assistant {
        /// Its text.
        text: String,
        /// What it thought before a tool call.
        thinking: String,
        /// Its calls.
        calls: Vec<CallRecord>,
    },
    /// A tool's result.
    Tool {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// The result's text, wrapped.
        text: String,
    },
}

/// A call that the model made, as it is told back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Never empty.
    pub id: String,
    /// A name that a server accepts, not always a tool that exists.
    pub name: String,
    /// A JSON object, always valid: servers fail on others.
    pub arguments: JsonObject,
}

/// The text of a JSON object.
#[derive(Debug, Clone)]
pub struct JsonObject(Option<Box<RawValue>>);

impl JsonObject {
    /// The text, if it is an object; else an empty one.
    pub fn or_empty(text: &str) -> Self {
        let raw = serde_json::from_str::<Box<RawValue>>(text).ok();
        Self(raw.filter(|raw| raw.get().starts_with('{')))
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.as_deref().map_or("{}", RawValue::get)
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(raw) => raw.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

impl PartialEq for JsonObject {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}
impl Eq for JsonObject {}

/// What to ask of the model.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The model's name.
    pub model: &'a str,
    /// The conversation so far.
    pub messages: &'a [Message],
    /// What the answer may be.
    pub form: Form<'a>,
    /// Tokens of context, where it can be chosen. The same for a whole conversation: another number makes
    /// Ollama load the model again.
    pub context: u32,
    /// Tokens of the answer.
    pub answer_tokens: u32,
}

/// What the answer may be. Tools and a schema in one request do not go together.
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    /// Text or calls of these tools.
    Tools(&'a [Tool]),
    /// One JSON value under this schema.
    Schema(&'a str),
    /// Text.
    Text,
}

impl Chat<'_> {
    fn tools(&self) -> Result<Option<Vec<ToolEntry>>, serde_json::Error> {
        match self.form {
            Form::Tools(tools) => {
                tools.iter().map(|tool| ToolEntry::new(*tool)).collect::<Result<_, _>>().map(Some)
            }
            Form::Schema(_) | Form::Text => Ok(None),
        }
    }

    fn schema(&self) -> Result<Option<&RawValue>, serde_json::Error> {
        match self.form {
            Form::Schema(schema) => serde_json::from_str(schema).map(Some),
            Form::Tools(_) | Form::Text => Ok(None),
        }
    }
}

/// The same question has the same answer, as far as the server can.
const SEED: u32 = 1;

#[derive(Serialize)]
struct ToolEntry {
    #[serde(rename = "type")]
    kind: &'static str,
    function: ToolFunction,
}

#[derive(Serialize)]
struct ToolFunction {
    name: &'static str,
    description: &'static str,
    parameters: &'static RawValue,
}

impl ToolEntry {
    fn new(tool: Tool) -> Result<Self, serde_json::Error> {
        let parameters = serde_json::from_str(tool.schema())?;
        let function = ToolFunction { name: tool.name(), description: tool.description(), parameters };
        Ok(Self { kind: "function", function })
    }
}
