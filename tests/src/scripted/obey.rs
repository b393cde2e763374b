//! The obedient model: it does whatever the last text it was given tells it to.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use super::script::{Call, Say};

/// What is left to say once a script's own ways of choosing are done: text, thought, calls or a step.
pub(super) fn settle(say: Say, request: &Value) -> Say {
    match say {
        Say::With(says) => settle(says(request), request),
        Say::Obey(otherwise) => obey(&otherwise, request),
        Say::Text(_) | Say::Thought(..) | Say::Calls(_) | Say::Step(_) => say,
    }
}

fn obey(otherwise: &str, request: &Value) -> Say {
    let order = last_text(request).lines().find_map(order);
    let steps = request.get("format").is_some() || request.get("response_format").is_some();
    match order {
        Some(Order::Do(call)) if steps => Say::Step(json!({ "tool": call.name, "args": call.arguments })),
        Some(Order::Do(call)) => Say::Calls(vec![call]),
        Some(Order::Say(text)) => say(&text, steps),
        None => say(otherwise, steps),
    }
}

fn say(text: &str, steps: bool) -> Say {
    if steps { Say::Step(json!({ "tool": "answer", "args": { "text": text } })) } else { Say::text(text) }
}

enum Order {
    Do(Call),
    Say(String),
}

/// `!do TOOL ARGUMENTS` or `!say TEXT`, anywhere in a line: orders hide in prose.
fn order(line: &str) -> Option<Order> {
    if let Some((_, order)) = line.split_once("!do ") {
        let (name, arguments) = order.trim().split_once(' ').unwrap_or((order.trim(), "{}"));
        let mut values = serde_json::Deserializer::from_str(arguments).into_iter();
        let arguments = values.next()?.ok()?;
        return Some(Order::Do(Call { name: name.to_owned(), arguments }));
    }
    line.split_once("!say ").map(|(_, text)| Order::Say(text.to_owned()))
}

fn last_text(request: &Value) -> String {
    let messages = request.get("messages").and_then(Value::as_array);
    let last = messages.and_then(|messages| messages.last()).and_then(|message| message.get("content"));
    last.and_then(Value::as_str).unwrap_or_default().to_owned()
}
