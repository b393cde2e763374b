//! What is answered, in the shapes of the OpenAI API.

#![forbid(unsafe_code)]

use serde_json::{Value, json};

/// A refusal. Its code is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: u16,
    code: &'static str,
    message: String,
}

impl ApiError {
    const fn new(status: u16, code: &'static str, message: String) -> Self {
        Self { status, code, message }
    }

    /// The request cannot be understood, or a value in it is out of range.
    #[must_use]
    pub fn invalid(message: String) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// Native tool calls of this model fail; a schema for each step works.
    #[must_use]
    pub fn tools_unsupported() -> Self {
        let message = "this model takes no tools: ask for each step with a json_schema response_format";
        Self::new(400, "tools_unsupported", message.into())
    }

    /// The schema cannot be turned into a grammar.
    #[must_use]
    pub fn schema(message: String) -> Self {
        Self::new(400, "schema_unsupported", message)
    }

    /// The conversation is longer than the model's context.
    #[must_use]
    pub fn context_length_exceeded(context: usize) -> Self {
        let message = format!("the conversation is longer than this model's context of {context} tokens");
        Self::new(400, "context_length_exceeded", message)
    }

    /// No such path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "GET /health, GET /v1/models, POST /v1/chat/completions".into())
    }

    /// The path is there, but not for this method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(405, "method_not_allowed", "GET /health, GET /v1/models, POST /v1/chat/completions".into())
    }

    /// The body is longer than a conversation can be.
    #[must_use]
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(413, "body_too_large", format!("a request has at most {limit} bytes"))
    }

    /// The body did not come, or broke off.
    #[must_use]
    pub fn body_incomplete() -> Self {
        Self::new(408, "body_incomplete", "the request did not arrive whole in time".into())
    }

    /// Enough requests are waiting already.
    #[must_use]
    pub fn busy(waiting: usize) -> Self {
        Self::new(503, "busy", format!("{waiting} requests are waiting already; try again later"))
    }

    /// llama.cpp failed.
    #[must_use]
    pub fn engine(message: String) -> Self {
        Self::new(500, "engine", message)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// `{"error":{"message","type","code"}}`
    #[must_use]
    pub fn body(&self) -> Value {
        let kind = if self.status < 500 { "invalid_request_error" } else { "server_error" };
        json!({ "error": { "message": self.message, "type": kind, "code": self.code } })
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model was done, or met a stop string.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Tokens of the conversation.
    pub prompt: usize,
    /// Of those, how many were still known from the request before.
    pub cached: usize,
    /// Tokens of the answer.
    pub completion: usize,
    /// Milliseconds for the tokens of the conversation that were new.
    pub prompt_ms: f64,
    /// Milliseconds for the answer.
    pub completion_ms: f64,
}

impl Usage {
    fn add_to(&self, body: &mut Value) {
        if let Value::Object(members) = body {
            members.insert("usage".into(), self.json());
            members.insert("timings".into(), self.timings());
        }
    }

    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }

    /// As llama-server names them.
    fn timings(&self) -> Value {
        let rate = |n: usize, ms: f64| if ms > 0.0 { n as f64 * 1000.0 / ms } else { 0.0 };
        let new = self.prompt - self.cached;
        json!({
            "cache_n": self.cached,
            "prompt_n": new,
            "prompt_ms": self.prompt_ms,
            "prompt_per_second": rate(new, self.prompt_ms),
            "predicted_n": self.completion,
            "predicted_ms": self.completion_ms,
            "predicted_per_second": rate(self.completion, self.completion_ms),
        })
    }
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `chatcmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's id.
    pub model: String,
}

impl Answer {
    /// The whole answer at once.
    #[must_use]
    pub fn whole(&self, content: &str, finish: Finish, usage: &Usage) -> Value {
        let message = json!({ "role": "assistant", "content": content });
        let mut body = self.body(
            "chat.completion",
            &json!([{
                "index": 0, "message": message, "logprobs": null, "finish_reason": finish.name(),
            }]),
        );
        usage.add_to(&mut body);
        body
    }

    /// The first event of a stream.
    #[must_use]
    pub fn begin(&self) -> String {
        event(&self.chunk(&json!({ "role": "assistant", "content": "" }), None))
    }

    /// More text.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        event(&self.chunk(&json!({ "content": text }), None))
    }

    /// The last events: why it ended, the usage if it was asked for, and the end itself.
    #[must_use]
    pub fn end(&self, finish: Finish, usage: Option<&Usage>) -> String {
        let mut events = event(&self.chunk(&json!({}), Some(finish)));
        if let Some(usage) = usage {
            let mut last = self.body("chat.completion.chunk", &json!([]));
            usage.add_to(&mut last);
            events += &event(&last);
        }
        events + "data: [DONE]\n\n"
    }

    fn chunk(&self, delta: &Value, finish: Option<Finish>) -> Value {
        self.body(
            "chat.completion.chunk",
            &json!([{
                "index": 0, "delta": delta, "finish_reason": finish.map(Finish::name),
            }]),
        )
    }

    fn body(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        })
    }
}

/// An event of a stream. JSON has no raw line breaks, so a value is always one line.
#[must_use]
pub fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// `GET /v1/models`
#[must_use]
pub fn models(model: &str, created: u64, context: usize) -> Value {
    json!({ "object": "list", "data": [{
        "id": model, "object": "model", "created": created, "owned_by": "closedpaw", "context_length": context,
    }]})
}

/// `GET /health`
#[must_use]
pub fn health() -> Value {
    json!({ "status": "ok" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer { id: "chatcmpl-1".into(), created: 7, model: "m".into() }
    }

    /// Reads a stream as a client does.
    fn events(stream: &str) -> Vec<Value> {
        let lines = stream.split("\n\n").filter(|event| !event.is_empty());
        lines
            .map(|event| event.strip_prefix("data: ").unwrap())
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[test]
    fn a_stream_begins_with_the_role_and_ends_with_done() {
        let usage = Usage { prompt: 5, cached: 2, completion: 3, prompt_ms: 30.0, completion_ms: 100.0 };
        let stream = answer().begin() + &answer().text("a\n\nb") + &answer().end(Finish::Stop, Some(&usage));
        assert!(stream.ends_with("data: [DONE]\n\n"));
        let seen = events(&stream);
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(seen[0]["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(seen[1]["choices"][0]["delta"]["content"], "a\n\nb");
        assert_eq!(seen[2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(seen[3]["choices"], json!([]));
        assert_eq!(seen[3]["usage"]["total_tokens"], 8);
        assert_eq!(seen[3]["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
        assert_eq!(seen[3]["timings"]["prompt_per_second"], 100.0);
        assert!(
            seen.iter()
                .all(|event| event["object"] == "chat.completion.chunk" && event["id"] == "chatcmpl-1")
        );
    }

    #[test]
    fn usage_is_sent_only_where_it_was_asked_for() {
        assert_eq!(events(&answer().end(Finish::Length, None)).len(), 1);
    }

    #[test]
    fn an_answer_at_once_has_the_message_and_the_usage() {
        let whole = answer().whole("hi", Finish::Length, &Usage::default());
        assert_eq!(whole["choices"][0]["message"], json!({ "role": "assistant", "content": "hi" }));
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(whole["usage"]["total_tokens"], 0);
    }

    #[test]
    fn errors_have_the_apis_shape() {
        let body = ApiError::tools_unsupported().body();
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "tools_unsupported");
        assert!(body["error"]["message"].is_string());
        assert_eq!(ApiError::busy(8).body()["error"]["type"], "server_error");
    }
}
