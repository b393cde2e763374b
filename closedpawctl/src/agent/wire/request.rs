//! The bodies of chat requests. Their beginning stays the same from turn to turn, so that a server finds what
//! it has computed already.
#![forbid(unsafe_code)]

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

    fn tools(&self) -> Result<Option<Vec<ToolEntry>>, serde_json::Error> {
        match self.form {
            Form::Tools(tools) => tools.iter().map(|tool| ToolEntry::new(*tool)).collect::<Result<_, _>>().map(Some),
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
    let plain = |role, text| OpenAiMessage { role, content: Some(text), tool_calls: Vec::new(), tool_call_id: None };
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn messages() -> Vec<Message> {
        vec![
            Message::System("rules".into()),
            Message::User("how many?".into()),
            Message::Assistant {
                text: String::new(),
                thinking: "hm".into(),
                calls: vec![CallRecord {
                    id: "call_1".into(),
                    name: "run".into(),
                    arguments: JsonObject::or_empty(r#"{"argv":["ls"]}"#),
                }],
            },
            Message::Tool { id: "call_1".into(), name: "run".into(), text: "a.txt".into() },
        ]
    }

    fn chat<'a>(messages: &'a [Message], form: Form<'a>) -> Chat<'a> {
        Chat { model: "m", messages, form, context: 8192, answer_tokens: 100 }
    }

    fn parsed(body: Result<String, serde_json::Error>) -> Value {
        serde_json::from_str(&body.unwrap()).unwrap()
    }

    #[test]
    fn ollama_gets_arguments_as_an_object_and_never_cuts_the_prompt() {
        let messages = messages();
        let body = parsed(chat(&messages, Form::Tools(&Tool::ALL)).ollama());
        assert_eq!(body["truncate"], json!(false));
        assert_eq!(body["options"]["num_ctx"], json!(8192));
        let call = &body["messages"][2]["tool_calls"][0];
        assert_eq!(
            *call,
            json!({"id": "call_1", "function": {"index": 0, "name": "run", "arguments": {"argv": ["ls"]}}})
        );
        assert_eq!(body["messages"][2]["thinking"], json!("hm"));
        assert_eq!(
            body["messages"][3],
            json!({"role": "tool", "tool_name": "run", "tool_call_id": "call_1", "content": "a.txt"})
        );
        assert_eq!(body["tools"].as_array().unwrap().len(), 4);
        assert!(body.get("format").is_none());
    }

    #[test]
    fn openai_gets_arguments_as_text_and_null_beside_calls() {
        let messages = messages();
        let body = parsed(chat(&messages, Form::Tools(&Tool::ALL)).openai());
        assert_eq!(
            body["messages"][2],
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function",
                 "function": {"name": "run", "arguments": "{\"argv\":[\"ls\"]}"}}]})
        );
        assert_eq!(
            body["messages"][3],
            json!({"role": "tool", "tool_call_id": "call_1", "content": "a.txt"})
        );
        assert_eq!(body["stream_options"]["include_usage"], json!(true));
        assert!(body.get("response_format").is_none());
    }

    #[test]
    fn a_schema_goes_without_tools_and_keeps_its_order() {
        let schema = r#"{"properties":{"tool":{},"args":{}}}"#;
        let messages = messages();
        let openai = chat(&messages, Form::Schema(schema)).openai().unwrap();
        let ollama = chat(&messages, Form::Schema(schema)).ollama().unwrap();
        assert!(openai.contains(schema) && ollama.contains(schema));
        assert!(!openai.contains("\"tools\"") && !ollama.contains("\"tools\""));
    }

    #[test]
    fn what_is_told_back_is_always_an_object() {
        for text in ["", "nonsense", "[1]", "{\"a\":", "\"x\"", "null"] {
            let record = CallRecord { id: "i".into(), name: "n".into(), arguments: JsonObject::or_empty(text) };
            let message =
                [Message::Assistant { text: String::new(), thinking: String::new(), calls: vec![record] }];
            let body = parsed(chat(&message, Form::Text).ollama());
            assert!(body["messages"][0]["tool_calls"][0]["function"]["arguments"].is_object(), "{text}");
        }
    }
}
