//! The body for `/api/chat`.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde_json::value::RawValue;

use super::{CallRecord, Chat, JsonObject, Message, SEED, ToolEntry};

impl Chat<'_> {
    /// The body for `/api/chat`.
    ///
    /// # Errors
    /// If a schema is not JSON, which is ours to get right.
    pub fn ollama(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&OllamaChat {
            model: self.model,
            stream: true,
            messages: self.messages.iter().map(ollama_message).collect(),
            tools: self.tools()?,
            format: self.schema()?,
            // Else a server cuts the beginning off without a word, and the rules are gone.
            truncate: false,
            shift: false,
            options: OllamaOptions {
                num_ctx: self.context,
                num_predict: self.answer_tokens,
                temperature: 0,
                seed: SEED,
            },
        })
    }
}

#[derive(Serialize)]
struct OllamaChat<'a> {
    model: &'a str,
    stream: bool,
    messages: Vec<OllamaMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<ToolEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a RawValue>,
    truncate: bool,
    shift: bool,
    options: OllamaOptions,
}

#[derive(Serialize)]
struct OllamaOptions {
    num_ctx: u32,
    num_predict: u32,
    temperature: u8,
    seed: u32,
}

#[derive(Serialize, Default)]
struct OllamaMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<OllamaCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct OllamaCall<'a> {
    id: &'a str,
    function: OllamaFunction<'a>,
}

#[derive(Serialize)]
struct OllamaFunction<'a> {
    index: usize,
    name: &'a str,
    arguments: &'a JsonObject,
}

fn ollama_message(message: &Message) -> OllamaMessage<'_> {
    match message {
        Message::System(text) => OllamaMessage { role: "system", content: text, ..OllamaMessage::default() },
        Message::User(text) => OllamaMessage { role: "user", content: text, ..OllamaMessage::default() },
        Message::Assistant { text, thinking, calls } => OllamaMessage {
            role: "assistant",
            content: text,
            thinking: if calls.is_empty() { "" } else { thinking },
            tool_calls: calls.iter().enumerate().map(|(index, call)| ollama_call(index, call)).collect(),
            ..OllamaMessage::default()
        },
        Message::Tool { id, name, text } => OllamaMessage {
            role: "tool",
            content: text,
            tool_name: Some(name),
            tool_call_id: Some(id),
            ..OllamaMessage::default()
        },
    }
}

fn ollama_call(index: usize, call: &CallRecord) -> OllamaCall<'_> {
    let function = OllamaFunction { index, name: &call.name, arguments: &call.arguments };
    OllamaCall { id: &call.id, function }
}
