//! The body for `/v1/chat/completions`.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde_json::value::RawValue;

use super::{CallRecord, Chat, Message, SEED, ToolEntry};

impl Chat<'_> {
    /// The body for `/v1/chat/completions`.
    ///
    /// # Errors
    /// If a schema is not JSON, which is ours to get right.
    pub fn openai(&self) -> Result<String, serde_json::Error> {
        let tools = self.tools()?;
        serde_json::to_string(&OpenAiChat {
            model: self.model,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            messages: self.messages.iter().map(openai_message).collect(),
            tool_choice: tools.as_ref().map(|_| "auto"),
            tools,
            response_format: self.schema()?.map(|schema| ResponseFormat {
                kind: "json_schema",
                json_schema: NamedSchema { name: "step", strict: true, schema },
            }),
            temperature: 0,
            seed: SEED,
            max_tokens: self.answer_tokens,
        })
    }
}

#[derive(Serialize)]
struct OpenAiChat<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    messages: Vec<OpenAiMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<ToolEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    temperature: u8,
    seed: u32,
    max_tokens: u32,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: NamedSchema<'a>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct OpenAiMessage<'a> {
    role: &'static str,
    /// Null beside calls: some templates take an empty text for an answer.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<OpenAiCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct OpenAiCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: OpenAiFunction<'a>,
}

#[derive(Serialize)]
struct OpenAiFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

fn openai_message(message: &Message) -> OpenAiMessage<'_> {
    let plain =
        |role, text| OpenAiMessage { role, content: Some(text), tool_calls: Vec::new(), tool_call_id: None };
    match message {
        Message::System(text) => plain("system", text),
        Message::User(text) => plain("user", text),
        Message::Assistant { text, thinking: _, calls } => OpenAiMessage {
            content: (calls.is_empty() || !text.is_empty()).then_some(text),
            tool_calls: calls.iter().map(openai_call).collect(),
            ..plain("assistant", text)
        },
        Message::Tool { id, name: _, text } => {
            OpenAiMessage { tool_call_id: Some(id), ..plain("tool", text) }
        }
    }
}

fn openai_call(call: &CallRecord) -> OpenAiCall<'_> {
    let function = OpenAiFunction { name: &call.name, arguments: call.arguments.text() };
    OpenAiCall { id: &call.id, kind: "function", function }
}
