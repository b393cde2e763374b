//! OpenAI's chat completions, as llama-server speaks them.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::faults::pieces;
use super::script::{Call, Card, Say};

/// What answers a GET that is no chat: a status and a document.
pub(super) fn page(cards: &[Card], method: &str, path: &str) -> Option<(u16, Value)> {
    match (method, path) {
        ("GET", "/health") => Some((200, json!({ "status": "ok" }))),
        ("GET", "/v1/models") => {
            let data: Vec<Value> = cards
                .iter()
                .map(|card| json!({ "id": card.name, "object": "model", "created": 1, "owned_by": "scripted" }))
                .collect();
            Some((200, json!({ "object": "list", "data": data })))
        }
        ("GET", "/props") => {
            let context = cards.first().map_or(0, |card| card.context);
            Some((200, json!({ "default_generation_settings": { "n_ctx": context }, "total_slots": 1 })))
        }
        _ => None,
    }
}

/// The events of an answer, the last of them `[DONE]`.
pub(super) fn frames(model: &str, say: &Say, cut_by_length: bool) -> Vec<String> {
    let mut deltas: Vec<Value> = match say {
        Say::Text(text) => pieces(text).map(|piece| json!({ "content": piece })).collect(),
        Say::Thought(thought, text) => {
            vec![json!({ "reasoning_content": thought }), json!({ "content": text })]
        }
        Say::Step(step) => pieces(&step.to_string()).map(|piece| json!({ "content": piece })).collect(),
        Say::Calls(calls) => calls.iter().enumerate().flat_map(call).collect(),
        Say::Obey(_) | Say::With(_) => Vec::new(),
    };
    if cut_by_length {
        deltas.truncate(deltas.len().div_ceil(2));
    }
    let reason = match say {
        _ if cut_by_length => "length",
        Say::Calls(_) => "tool_calls",
        Say::Text(_) | Say::Thought(..) | Say::Step(_) | Say::Obey(_) | Say::With(_) => "stop",
    };
    let chunk = |choices: Value, usage: Value| {
        event(&json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
                       "choices": choices, "usage": usage }))
    };
    let choice = |delta: &Value, reason: Value| {
        chunk(json!([{ "index": 0, "delta": delta, "finish_reason": reason }]), Value::Null)
    };
    let mut frames = vec![choice(&json!({ "role": "assistant", "content": null }), Value::Null)];
    frames.extend(deltas.iter().map(|delta| choice(delta, Value::Null)));
    frames.push(choice(&json!({}), json!(reason)));
    let usage = json!({ "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14 });
    frames.push(chunk(json!([]), usage));
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

pub(super) fn error_frame(words: &str) -> String {
    event(&json!({ "error": { "code": 500, "message": words, "type": "server_error" } }))
}

/// A call's first piece has its id and name, the others more and more of its arguments.
fn call((index, call): (usize, &Call)) -> Vec<Value> {
    let arguments = call.arguments.to_string();
    let function = json!({ "name": call.name, "arguments": "" });
    let first =
        json!({ "index": index, "id": format!("call_{index}"), "type": "function", "function": function });
    let rest = pieces(&arguments)
        .map(|piece| json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }));
    std::iter::once(json!({ "tool_calls": [first] })).chain(rest).collect()
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}
