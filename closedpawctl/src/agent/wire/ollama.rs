//! Ollama's own `/api/chat`: one JSON object a line, a tool call whole in one of them.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::{Calls, Piece};
use super::ndjson::Lines;
use super::think::ThinkFilter;
use super::{Event, Parser, Reason, Usage, WireError, server_words};
use crate::agent::limits::Guards;

/// The parser of one response.
#[derive(Debug)]
pub struct Ollama {
    lines: Lines,
    state: State,
}

/// What lines add up to; apart from [`Lines`], which feeds it.
#[derive(Debug)]
struct State {
    calls: Calls,
    think: ThinkFilter,
    ended: bool,
}

impl Ollama {
    /// A parser that gives up beyond these limits.
    pub fn new(guards: &Guards) -> Self {
        let state = State { calls: Calls::new(guards), think: ThinkFilter::default(), ended: false };
        Self { lines: Lines::new(guards.line), state }
    }
}

impl Parser for Ollama {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        if self.state.ended {
            return;
        }
        let state = &mut self.state;
        if self.lines.push(bytes, |line| state.line(line, out)).is_err() {
            self.state.fail(WireError::TooLarge("a line"), out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        if self.state.ended {
            return;
        }
        if let Some(rest) = self.lines.rest()
            // A last line that is no JSON has been cut off, whoever wrote it.
            && let Ok(line) = serde_json::from_slice::<Line>(&rest)
        {
            self.state.take(line, out);
        }
        self.state.fail(WireError::CutOff, out);
    }

    fn ended(&self) -> bool {
        self.state.ended
    }
}

impl State {
    /// One line; false if it was the last that counts.
    fn line(&mut self, line: &[u8], out: &mut Vec<Event>) -> bool {
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => self.take(line, out),
            Err(_) => self.fail(WireError::Nonsense("a line is not Ollama's JSON"), out),
        }
        !self.ended
    }

    fn take(&mut self, line: Line, out: &mut Vec<Event>) {
        if let Some(error) = line.error {
            return self.fail(WireError::Server(server_words(&error)), out);
        }
        if line.message.is_none() && line.done.is_none() {
            return self.fail(WireError::Nonsense("a line is not Ollama's JSON"), out);
        }
        let message = line.message.unwrap_or_default();
        if let Some(thought) = message.thinking.filter(|thought| !thought.is_empty()) {
            out.push(Event::Thinking(thought));
        }
        self.think.push(&message.content.unwrap_or_default(), out);
        for call in message.tool_calls.unwrap_or_default() {
            if let Err(error) = self.calls.add_whole(call.piece(), out) {
                return self.fail(error, out);
            }
        }
        if line.done == Some(true) {
            let usage = Usage {
                prompt: line.prompt_eval_count.unwrap_or(0),
                generated: line.eval_count.unwrap_or(0),
            };
            self.done(reason(line.done_reason.as_deref()), usage, out);
        }
    }

    fn done(&mut self, reason: Reason, usage: Usage, out: &mut Vec<Event>) {
        self.think.finish(out);
        // Whatever ended it before the model was done may have cut a call in half.
        if reason == Reason::Stop {
            self.calls.end(out);
        }
        out.push(Event::Usage(usage));
        out.push(Event::Done(reason));
        self.ended = true;
    }

    fn fail(&mut self, error: WireError, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.think.finish(out);
            out.push(Event::Error(error));
        }
    }
}

fn reason(word: Option<&str>) -> Reason {
    match word {
        // Old versions give none.
        None | Some("" | "stop") => Reason::Stop,
        Some("length") => Reason::Length,
        Some(_) => Reason::Other,
    }
}

// The shapes on the wire. Unknown fields are left out: the format grows.

#[derive(Deserialize)]
struct Line {
    message: Option<Message>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize, Default)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Box<RawValue>>,
}

impl Call {
    /// A whole call. Its `index` is left out: versions differ in where they start counting, and each entry is
    /// a call of its own anyway.
    fn piece(self) -> Piece {
        let arguments = self.function.arguments.map(|raw| argument_text(&raw)).unwrap_or_default();
        let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
        Piece { index: None, id: self.id, name: self.function.name, arguments }
    }
}

/// The JSON text of arguments that stand as an object, or as a string that holds one.
pub(super) fn argument_text(raw: &RawValue) -> String {
    match raw.get() {
        "null" => String::new(),
        text => serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned()),
    }
}
