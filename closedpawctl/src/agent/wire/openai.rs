//! OpenAI's chat completions, as llama-server, LM Studio, vLLM and others speak them: server-sent events, tool
//! calls in pieces.
#![forbid(unsafe_code)]

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calls::{Calls, Piece};
use super::ollama::argument_text;
use super::sse::Sse;
use super::think::ThinkFilter;
use super::{Event, Parser, Reason, Usage, WireError, server_words};
use crate::agent::limits::Guards;

/// The parser of one response.
#[derive(Debug)]
pub struct OpenAi {
    events: Sse,
    state: State,
}

/// What events add up to; apart from [`Sse`], which feeds it.
#[derive(Debug)]
pub(super) struct State {
    calls: Calls,
    think: ThinkFilter,
    usage: Option<Usage>,
    /// Given before the usage and `[DONE]`, which may both be missing.
    reason: Option<Reason>,
    ended: bool,
}

impl OpenAi {
    /// A parser that gives up beyond these limits.
    pub fn new(guards: &Guards) -> Self {
        Self { events: Sse::new(guards.line), state: State::new(guards) }
    }
}

impl Parser for OpenAi {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        if self.state.ended {
            return;
        }
        let state = &mut self.state;
        if self.events.push(bytes, |data| state.event(data, out)).is_err() {
            self.state.fail(WireError::TooLarge("an event"), out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        if !self.state.ended
            && let Some(rest) = self.events.rest()
            // A last event that is no JSON has been cut off, whoever wrote it.
            && (rest.trim_ascii() == DONE || serde_json::from_slice::<Chunk>(&rest).is_ok())
        {
            self.state.event(&rest, out);
        }
        self.state.finish(out);
    }

    fn ended(&self) -> bool {
        self.state.ended
    }
}

const DONE: &[u8] = b"[DONE]";

impl State {
    pub(super) fn new(guards: &Guards) -> Self {
        Self {
            calls: Calls::new(guards),
            think: ThinkFilter::default(),
            usage: None,
            reason: None,
            ended: false,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// One event; false if it was the last that counts.
    pub(super) fn event(&mut self, data: &[u8], out: &mut Vec<Event>) -> bool {
        match data.trim_ascii() {
            [] => {}
            DONE => self.done(self.reason.unwrap_or(Reason::Stop), out),
            json => match serde_json::from_slice::<Chunk>(json) {
                Ok(chunk) => self.take(chunk, out),
                Err(_) => self.fail(WireError::Nonsense("an event is not a chat completion"), out),
            },
        }
        !self.ended
    }

    /// The end of the stream stands for a missing `[DONE]` if the model had said that it was done.
    pub(super) fn finish(&mut self, out: &mut Vec<Event>) {
        match self.reason {
            Some(reason) if !self.ended => self.done(reason, out),
            _ => self.fail(WireError::CutOff, out),
        }
    }

    fn take(&mut self, chunk: Chunk, out: &mut Vec<Event>) {
        if let Some(error) = chunk.error {
            return self.fail(WireError::Server(server_words(&error)), out);
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            return self.fail(WireError::Nonsense("an event is not a chat completion"), out);
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(Usage {
                prompt: usage.prompt_tokens.unwrap_or(0),
                generated: usage.completion_tokens.unwrap_or(0),
            });
        }
        // One answer was asked for; others than the first choice would be mixed into it.
        let choices = chunk.choices.unwrap_or_default().into_iter();
        for choice in choices.filter(|choice| choice.index.unwrap_or(0) == 0) {
            self.choice(choice, out);
        }
    }

    fn choice(&mut self, choice: Choice, out: &mut Vec<Event>) {
        // Whole responses have `message` where streams have `delta`.
        let delta = choice.delta.or(choice.message).unwrap_or_default();
        let thoughts = [delta.reasoning_content, delta.reasoning].into_iter().flatten();
        // Some servers send the same thought under both names.
        let thought = thoughts.filter_map(|raw| serde_json::from_str::<String>(raw.get()).ok());
        if let Some(thought) = thought.into_iter().find(|thought| !thought.is_empty()) {
            out.push(Event::Thinking(thought));
        }
        for piece in [delta.content, delta.refusal].into_iter().flatten() {
            self.think.push(&piece, out);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            if let Err(error) = self.calls.add(call.piece(), out) {
                return self.fail(error, out);
            }
        }
        if let Some(word) = choice.finish_reason {
            self.reason = Some(reason(&word));
        }
    }

    fn done(&mut self, reason: Reason, out: &mut Vec<Event>) {
        self.think.finish(out);
        // Whatever ended it before the model was done may have cut a call in half.
        if reason == Reason::Stop {
            self.calls.end(out);
        }
        out.extend(self.usage.map(Event::Usage));
        out.push(Event::Done(reason));
        self.ended = true;
    }

    pub(super) fn fail(&mut self, error: WireError, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.think.finish(out);
            out.push(Event::Error(error));
        }
    }
}

fn reason(word: &str) -> Reason {
    match word {
        "stop" | "tool_calls" | "function_call" | "eos" => Reason::Stop,
        "length" => Reason::Length,
        "content_filter" => Reason::Filtered,
        _ => Reason::Other,
    }
}

// The shapes on the wire. Unknown fields are left out: each server has its own.

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<RawUsage>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct RawUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Delta>,
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    // Raw: some servers have an object here, and thinking is not worth a response.
    reasoning_content: Option<Box<RawValue>>,
    reasoning: Option<Box<RawValue>>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Box<RawValue>>,
}

impl Call {
    fn piece(self) -> Piece {
        let (name, arguments) = self.function.map_or((None, None), |f| (f.name, f.arguments));
        let arguments = arguments.map(|raw| argument_text(&raw)).unwrap_or_default();
        Piece { index: self.index, id: self.id, name, arguments }
    }
}
