//! One answer of the model: a request sent, its response parsed while it arrives.
#![forbid(unsafe_code)]

use super::discover::{Model, Wire};
use super::http::{self, HttpError, Media, Request, Response, Waits};
use super::limits::{Guards, Limits};
use super::ports::Dial;
use super::wire::request::Chat;
use super::wire::turn::{Collector, Turn};
use super::wire::{Event, Ollama, OpenAi, Parser, Usage, Whole, WireError, server_words};

/// A turn with what it cost.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) turn: Turn,
    pub(super) usage: Usage,
    pub(super) received: usize,
}

/// Why there is no turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The server is up and still loads the model.
    #[error("it is still loading its model")]
    Loading,
    /// The server has more to do than it can.
    #[error("it is busy")]
    Busy,
    /// The model, or the server with it, cannot do tool calls.
    #[error("it cannot do tool calls with this model: {words}")]
    NoTools { status: u16, words: String },
    /// What was sent is more than the model can hold.
    #[error("the conversation is longer than the model can hold")]
    TooLong,
    /// The server wants a key.
    #[error("it wants a key")]
    NeedsKey,
    /// Any other refusal.
    #[error("it refuses with status {status}: {words}")]
    Refused { status: u16, words: String },
    /// The answer is something else than a model server's.
    #[error("it does not answer as a model server")]
    NotAModelServer,
}

impl TurnError {
    /// Whether the same request may well succeed a moment later.
    pub(super) fn retryable(&self) -> bool {
        match self {
            Self::Loading | Self::Busy => true,
            Self::Wire(error) => error.retryable(),
            Self::Http(error) => match error {
                HttpError::HungUp | HttpError::CutOff => true,
                HttpError::Dial(_)
                | HttpError::Slow(_)
                | HttpError::NotHttp
                | HttpError::TooLarge
                | HttpError::BadEndpoint => false,
            },
            Self::NoTools { .. }
            | Self::TooLong
            | Self::NeedsKey
            | Self::Refused { .. }
            | Self::NotAModelServer => false,
        }
    }
}

/// Asks for one answer; `each` sees the events as they come.
pub(super) async fn turn(
    dial: &mut impl Dial,
    model: &Model,
    chat: &Chat<'_>,
    limits: &Limits,
    mut each: impl FnMut(&Event),
) -> Result<Heard, TurnError> {
    let (path, body) = match model.wire {
        Wire::Ollama => ("/api/chat", chat.ollama()),
        Wire::OpenAi => ("/v1/chat/completions", chat.openai()),
    };
    // A body that cannot be written would be a schema of ours that is no JSON; a test sees to that.
    let body = body.map_err(|_| HttpError::BadEndpoint)?;
    let path = format!("{}{path}", model.base);
    let request = Request { host: &model.host, path: &path, body: Some(&body) };
    let times = &limits.timeouts;
    let waits = Waits { head: times.first_byte, idle: times.idle, whole: times.whole };
    let stream = http::connect(dial, model.endpoint, times.connect).await?;
    let response = http::send(stream, &request, &waits).await?;
    if response.status != 200 {
        let status = response.status;
        return Err(refusal(status, &response.document(limits.guards.document).await.unwrap_or_default()));
    }
    match (model.wire, response.media) {
        (_, Media::Other) => Err(TurnError::NotAModelServer),
        (Wire::Ollama, _) => listen(response, Ollama::new(&limits.guards), &limits.guards, &mut each).await,
        (Wire::OpenAi, Media::Json) => {
            listen(response, Whole::new(&limits.guards), &limits.guards, &mut each).await
        }
        (Wire::OpenAi, Media::Events | Media::Lines | Media::Unsaid) => {
            listen(response, OpenAi::new(&limits.guards), &limits.guards, &mut each).await
        }
    }
}

/// Reads until the parser has seen an end; what a server sends after that is left unread.
async fn listen(
    mut response: Response,
    mut parser: impl Parser,
    guards: &Guards,
    each: &mut impl FnMut(&Event),
) -> Result<Heard, TurnError> {
    let mut collector = Collector::default();
    let mut received = 0_usize;
    while !parser.ended() {
        let mut events = Vec::new();
        match response.piece().await {
            Ok(Some(piece)) => {
                received = received.saturating_add(piece.len());
                parser.push(&piece, &mut events);
            }
            Ok(None) => parser.finish(&mut events),
            // If everything was said before the connection broke, that is an answer.
            Err(HttpError::CutOff) => parser.finish(&mut events),
            Err(error) => return Err(error.into()),
        }
        for event in events {
            each(&event);
            collector.add(event);
        }
        if received > guards.response && !parser.ended() {
            return Err(TurnError::Wire(WireError::TooLarge("a response")));
        }
    }
    let usage = collector.usage();
    Ok(Heard { turn: collector.finish()?, usage, received })
}

/// What a status other than 200 means. Servers agree on little, so their words are looked at, too.
fn refusal(status: u16, body: &[u8]) -> TurnError {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Box<serde_json::value::RawValue>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else {
        return TurnError::Refused { status, words: String::new() };
    };
    let words = server_words(&body.error);
    let lower = words.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    match status {
        503 if says(&["loading"]) => TurnError::Loading,
        429 | 502 | 503 | 504 | 529 => TurnError::Busy,
        401 | 403 => TurnError::NeedsKey,
        400 | 413 | 422 | 500
            if says(&["context"]) && says(&["exceed", "too long", "longer", "larger", "maximum", "size"]) =>
        {
            TurnError::TooLong
        }
        400 | 422 | 500 | 501 if says(&["tool"]) => TurnError::NoTools { status, words },
        _ => TurnError::Refused { status, words },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let no_tools = |words: &str| TurnError::NoTools { status: 400, words: words.into() };
        for (status, body, wanted) in [
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                TurnError::Loading,
            ),
            (503, r#"{"error":"server busy"}"#, TurnError::Busy),
            (429, r#"{"error":"slow down"}"#, TurnError::Busy),
            (400, r#"{"error":"x does not support tools"}"#, no_tools("x does not support tools")),
            (
                400,
                r#"{"error":{"message":"\"auto\" tool choice requires --tool-call-parser to be set"}}"#,
                no_tools("\"auto\" tool choice requires --tool-call-parser to be set"),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                TurnError::TooLong,
            ),
            (401, r#"{"error":{"message":"Invalid API Key"}}"#, TurnError::NeedsKey),
            (
                404,
                r#"{"error":"model 'x' not found"}"#,
                TurnError::Refused { status: 404, words: "model 'x' not found".into() },
            ),
            (500, "<html>", TurnError::Refused { status: 500, words: String::new() }),
        ] {
            assert_eq!(refusal(status, body.as_bytes()), wanted, "{body}");
        }
    }
}
