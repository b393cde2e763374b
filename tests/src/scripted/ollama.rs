//! Ollama's own format.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::script::{Call, Card, Say};

/// What answers a GET or a POST that is no chat: a status and a document.
pub(super) fn page(cards: &[Card], method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    match (method, path) {
        ("GET", "/") => Some((200, json!("Ollama is running"))),
        ("GET", "/api/version") => Some((200, json!({ "version": "0.12.3" }))),
        ("GET", "/api/tags") => Some((200, json!({ "models": cards.iter().map(tag).collect::<Vec<_>>() }))),
        ("POST", "/api/show") => {
            let name = body.get("model").and_then(Value::as_str).unwrap_or_default();
            let not_found = (404, json!({ "error": format!("model '{name}' not found") }));
            let card = cards.iter().find(|card| card.name == name);
            Some(card.map_or(not_found, |card| (200, show(card))))
        }
        _ => None,
    }
}

fn tag(card: &Card) -> Value {
    let mut tag = json!({
        "name": card.name, "model": card.name, "modified_at": "2026-01-02T03:04:05.678901234Z", "size": 1_000_000,
        "digest": "0".repeat(64), "details": details(card)
    });
    if !card.remote_hidden {
        remote(card, &mut tag);
    }
    tag
}

fn show(card: &Card) -> Value {
    let mut show = json!({
        "license": "", "modelfile": "", "template": "", "details": details(card),
        "model_info": { "general.architecture": "scripted", "scripted.context_length": card.context,
                        "tokenizer.ggml.tokens": null },
        "modified_at": "2026-01-02T03:04:05.678901234Z"
    });
    if let (Some(capabilities), Some(show)) = (&card.capabilities, show.as_object_mut()) {
        show.insert("capabilities".into(), json!(capabilities));
    }
    remote(card, &mut show);
    show
}

fn details(card: &Card) -> Value {
    json!({ "parent_model": "", "format": "gguf", "family": "scripted", "families": ["scripted"],
            "parameter_size": card.parameter_size, "quantization_level": "Q4_K_M" })
}

fn remote(card: &Card, entry: &mut Value) {
    if let (Some(host), Some(entry)) = (&card.remote_host, entry.as_object_mut()) {
        entry.insert("remote_host".into(), json!(host));
        entry.insert("remote_model".into(), json!(card.name));
    }
}

/// The lines of an answer, the last of them `done`.
pub(super) fn frames(model: &str, say: &Say, cut_by_length: bool) -> Vec<String> {
    let mut messages: Vec<Value> = match say {
        Say::Text(text) => super::faults::pieces(text).map(|piece| json!({ "content": piece })).collect(),
        Say::Thought(thought, text) => {
            vec![json!({ "content": "", "thinking": thought }), json!({ "content": text })]
        }
        Say::Step(step) => {
            super::faults::pieces(&step.to_string()).map(|piece| json!({ "content": piece })).collect()
        }
        Say::Calls(calls) => calls.iter().enumerate().map(call).collect(),
        Say::Obey(_) | Say::With(_) => Vec::new(),
    };
    let reason = if cut_by_length { "length" } else { "stop" };
    if cut_by_length && !matches!(say, Say::Calls(_)) {
        messages.truncate(messages.len().div_ceil(2));
    }
    let line = |message: &Value| {
        line(&json!({ "model": model, "created_at": "2026-01-02T03:04:05.678901234Z",
                      "message": with_role(message), "done": false }))
    };
    let mut frames: Vec<String> = messages.iter().map(line).collect();
    frames.push(self::line(&json!({
        "model": model, "created_at": "2026-01-02T03:04:05.678901234Z",
        "message": { "role": "assistant", "content": "" }, "done": true, "done_reason": reason,
        "total_duration": 5, "load_duration": 1, "prompt_eval_count": 11, "prompt_eval_duration": 2,
        "eval_count": 3, "eval_duration": 2
    })));
    frames
}

pub(super) fn error_frame(words: &str) -> String {
    line(&json!({ "error": words }))
}

fn call((index, call): (usize, &Call)) -> Value {
    let function = json!({ "index": index, "name": call.name, "arguments": call.arguments });
    json!({ "content": "", "tool_calls": [{ "id": format!("call_{index}"), "function": function }] })
}

fn with_role(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(fields) = message.as_object_mut() {
        fields.insert("role".into(), json!("assistant"));
    }
    message
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
