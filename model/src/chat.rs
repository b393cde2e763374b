//! A chat completion's request: what was sent, and what it means.

#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::Value;

use crate::prompt::{Message, Role};
use crate::reply::ApiError;
use crate::schema::Schema;

const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// A request that was understood, with every limit checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation, not empty.
    pub messages: Vec<Message>,
    /// What the answer must match.
    pub schema: Option<Schema>,
    /// 0 is greedy.
    pub temperature: f32,
    /// For a temperature above 0.
    pub seed: Option<u32>,
    /// At most so many tokens.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; none is empty.
    pub stop: Vec<String>,
    /// Send it piece by piece.
    pub stream: bool,
    /// End the stream with the usage.
    pub stream_usage: bool,
}

/// What was typed. Fields we do not know are other servers' and change nothing here.
#[derive(Deserialize)]
struct Raw {
    messages: Vec<RawMessage>,
    response_format: Option<RawFormat>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    temperature: Option<f32>,
    seed: Option<i64>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stop: Option<OneOrMore>,
    stream: Option<bool>,
    stream_options: Option<RawStreamOptions>,
    n: Option<u32>,
}

#[derive(Deserialize)]
struct RawMessage {
    role: RawRole,
    content: Option<RawContent>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RawPart {
    Text { text: String },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RawFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: RawSchema },
}

#[derive(Deserialize)]
struct RawSchema {
    schema: Value,
}

#[derive(Deserialize)]
struct RawStreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Request {
    /// Reads a request's body.
    ///
    /// # Errors
    /// Says what is not understood or not supported, in the API's own shape.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let raw: Raw = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the request is not understood: {error}")))?;
        refuse_what_is_not_here(&raw)?;
        Ok(Self {
            schema: raw.response_format.map(schema).transpose()?.flatten(),
            temperature: temperature(raw.temperature)?,
            // Only its lowest bits count, as any number does as a seed.
            seed: raw.seed.map(|seed| (seed & i64::from(u32::MAX)) as u32),
            max_tokens: max_tokens(raw.max_completion_tokens.or(raw.max_tokens))?,
            stop: stop(raw.stop)?,
            stream: raw.stream.unwrap_or(false),
            stream_usage: raw.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            messages: raw.messages.into_iter().map(message).collect(),
        })
    }
}

fn refuse_what_is_not_here(raw: &Raw) -> Result<(), ApiError> {
    let some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if some(&raw.tools) || raw.messages.iter().any(|message| some(&message.tool_calls)) {
        return Err(ApiError::tools_unsupported());
    }
    if raw.messages.is_empty() {
        return Err(ApiError::invalid("messages is empty".into()));
    }
    if raw.n.is_some_and(|n| n != 1) {
        return Err(ApiError::invalid("n must be 1".into()));
    }
    Ok(())
}

fn message(raw: RawMessage) -> Message {
    let role = match raw.role {
        RawRole::System | RawRole::Developer => Role::System,
        RawRole::User => Role::User,
        RawRole::Assistant => Role::Assistant,
        RawRole::Tool => Role::Tool,
    };
    let content = match raw.content {
        None => String::new(),
        Some(RawContent::Text(text)) => text,
        Some(RawContent::Parts(parts)) => parts.into_iter().map(|RawPart::Text { text }| text).collect(),
    };
    Message { role, content }
}

fn schema(format: RawFormat) -> Result<Option<Schema>, ApiError> {
    match format {
        RawFormat::Text => Ok(None),
        RawFormat::JsonObject => Ok(Some(Schema::any_object())),
        RawFormat::JsonSchema { json_schema } => Schema::try_from(json_schema.schema).map(Some),
    }
}

fn temperature(given: Option<f32>) -> Result<f32, ApiError> {
    let temperature = given.unwrap_or(0.0);
    if (0.0..=2.0).contains(&temperature) {
        Ok(temperature)
    } else {
        Err(ApiError::invalid("temperature must be between 0 and 2".into()))
    }
}

fn max_tokens(given: Option<u32>) -> Result<Option<u32>, ApiError> {
    if given == Some(0) { Err(ApiError::invalid("max_tokens must be at least 1".into())) } else { Ok(given) }
}

fn stop(given: Option<OneOrMore>) -> Result<Vec<String>, ApiError> {
    let stops = match given {
        None => Vec::new(),
        Some(OneOrMore::One(stop)) => vec![stop],
        Some(OneOrMore::More(stops)) => stops,
    };
    if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        return Err(ApiError::invalid(format!(
            "stop takes at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes"
        )));
    }
    Ok(stops)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<Request, ApiError> {
        Request::parse(body.to_string().as_bytes())
    }

    /// A request with one more field.
    fn with(field: &str, value: Value) -> Result<Request, ApiError> {
        let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
        body[field] = value;
        parse(&body)
    }

    #[test]
    fn the_defaults_are_greedy_and_whole() {
        let request = with("model", json!("any")).unwrap();
        assert_eq!(request.messages, [Message { role: Role::User, content: "Hi".into() }]);
        assert_eq!((request.temperature, request.stream, request.stream_usage), (0.0, false, false));
        assert_eq!((request.schema, request.seed, request.max_tokens), (None, None, None));
        assert_eq!(request.stop, Vec::<String>::new());
    }

    #[test]
    fn every_role_is_understood_and_content_may_come_in_parts() {
        let request = parse(&json!({ "messages": [
            { "role": "developer", "content": "d" },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "content": null },
            { "role": "tool", "tool_call_id": "1", "content": "t" },
        ]}))
        .unwrap();
        let seen: Vec<_> = request.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
        let expected = [(Role::System, "d"), (Role::User, "ab"), (Role::Assistant, ""), (Role::Tool, "t")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_schema_is_taken_out_of_its_wrapping() {
        let schema = json!({ "type": "object", "properties": { "b": {}, "a": {} } });
        let format = json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
        let taken = with("response_format", format).unwrap().schema.unwrap();
        assert_eq!(serde_json::from_str::<Value>(taken.as_str()).unwrap(), schema);
        assert_eq!(with("response_format", json!({ "type": "text" })).unwrap().schema, None);
        assert!(with("response_format", json!({ "type": "json_object" })).unwrap().schema.is_some());
    }

    #[test]
    fn the_order_of_a_schemas_properties_is_kept() {
        let body = br#"{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",
            "json_schema":{"schema":{"type":"object","properties":{"tool":{},"args":{}}}}}}"#;
        let schema = Request::parse(body).unwrap().schema.unwrap();
        let at = |name| schema.as_str().find(name).unwrap();
        assert!(at("tool") < at("args"), "{schema:?}");
    }

    #[test]
    fn tools_are_refused_by_name() {
        let tool = json!([{ "type": "function", "function": { "name": "f" } }]);
        assert_eq!(with("tools", tool).unwrap_err().code(), "tools_unsupported");
        assert!(with("tools", json!([])).is_ok());
        let called = json!([{ "role": "assistant", "content": null, "tool_calls": [{}] }]);
        assert_eq!(parse(&json!({ "messages": called })).unwrap_err().code(), "tools_unsupported");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (field, value) in [
            ("temperature", json!(-1)),
            ("temperature", json!(2.1)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(0)),
            ("n", json!(2)),
            ("stop", json!("")),
            ("stop", json!(vec!["x"; 17])),
            ("stop", json!("x".repeat(257))),
            ("messages", json!([])),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert_eq!((error.status(), error.code()), (400, "invalid_request"), "{field} {value}");
        }
    }

    #[test]
    fn what_was_asked_is_kept() {
        assert_eq!(with("seed", json!(-1)).unwrap().seed, Some(u32::MAX));
        assert_eq!(with("stop", json!("x")).unwrap().stop, ["x"]);
        assert_eq!(with("max_completion_tokens", json!(7)).unwrap().max_tokens, Some(7));
        assert!(with("stream_options", json!({ "include_usage": true })).unwrap().stream_usage);
    }

    #[test]
    fn what_is_no_request_is_refused_without_a_panic() {
        for body in ["", "{", "[]", "{\"messages\":1}", "{\"messages\":[{\"role\":\"root\"}]}"] {
            assert_eq!(Request::parse(body.as_bytes()).unwrap_err().status(), 400, "{body}");
        }
        let picture = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]);
        assert_eq!(parse(&json!({ "messages": picture })).unwrap_err().status(), 400);
        let nested = format!("{{\"messages\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Request::parse(nested.as_bytes()).unwrap_err().status(), 400);
    }
}
