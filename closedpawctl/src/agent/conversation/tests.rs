//! Conversations with scripted servers: what is asked, what is done, what is said, and what never happens.

mod faults;
mod native;
mod steps;
mod untrusted;

use closedpaw_tests::scripted::{Format, Say, Script, Turn};
use serde_json::{Value, json};

use super::*;
use crate::agent::discover::Wire;
use crate::agent::ports::ToolResult;
use crate::agent::testing::{FakeHands, Recorder, Servers, limits, model};
use crate::agent::tools::ToolCall;

const WIRES: [(Wire, Format); 2] = [(Wire::Ollama, Format::Ollama), (Wire::OpenAi, Format::OpenAi)];

fn conversation(wire: Wire, mode: Mode) -> Conversation {
    Conversation::new(model(wire, mode), [7; 16], limits())
}

/// What came of one question.
struct Done {
    answer: Result<Answer, AskError>,
    voice: Recorder,
    calls: Vec<ToolCall>,
    /// The bodies of the chat requests.
    chats: Vec<Value>,
}

impl Done {
    fn text(&self) -> &str {
        &self.answer.as_ref().unwrap().text
    }

    /// The last message of a chat request.
    fn last_message(&self, chat: usize) -> &str {
        self.chats[chat]["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
    }
}

async fn ask(
    mut conversation: Conversation,
    script: Script,
    hands: impl FnMut(&ToolCall) -> ToolResult,
) -> Done {
    let mut servers = Servers::start([script]);
    let mut hands = FakeHands::new(hands);
    let mut voice = Recorder::default();
    let answer = conversation.ask("How many?", &mut servers, &mut hands, &mut voice).await;
    Done { answer, voice, calls: hands.calls, chats: servers.0[0].chats() }
}

fn script(format: Format, turns: impl IntoIterator<Item = impl Into<Turn>>) -> Script {
    Script::new(format, turns.into_iter().map(Into::into))
}

fn done(text: &str) -> ToolResult {
    ToolResult::Done { text: text.to_owned() }
}

fn list() -> Say {
    Say::call("list_files", json!({ "path": "." }))
}

fn run(words: &[&str]) -> Say {
    Say::call("run", json!({ "argv": words }))
}

fn final_step(text: &str) -> Say {
    Say::step("answer", json!({ "text": text }))
}
