//! Schema steps.

use super::*;
use crate::agent::ports::{Failure, Note};
use crate::agent::steps::Choice;

fn step(tool: &str, args: Value) -> Say {
    Say::step(tool, args)
}

fn list_step() -> Say {
    step("list_files", json!({ "path": "." }))
}

fn schema(chat: &Value) -> Value {
    match chat.get("format") {
        Some(schema) => schema.clone(),
        None => chat["response_format"]["json_schema"]["schema"].clone(),
    }
}

fn is_schema(chat: &Value, choice: Choice) -> bool {
    schema(chat) == serde_json::from_str::<Value>(choice.schema()).unwrap()
}

#[tokio::test]
async fn a_tool_comes_first_and_then_the_answer() {
    for (wire, format) in WIRES {
        let turns = [list_step(), final_step("The 3 files have 10 lines.")];
        let done = ask(conversation(wire, Mode::Steps), script(format, turns), |_| {
            done("Total: 3 files, 10 lines.\n")
        })
        .await;
        assert_eq!(done.text(), "The 3 files have 10 lines.");
        assert_eq!((done.voice.text.as_str(), done.voice.passages), (done.text(), 1), "steps are not shown");
        assert!(is_schema(&done.chats[0], Choice::Tool));
        assert!(is_schema(&done.chats[1], Choice::Either));
        assert!(done.chats.iter().all(|chat| chat.get("tools").is_none()));
        let result = done.last_message(1);
        assert!(result.contains("Total: 3 files, 10 lines.") && result.ends_with("\nQuestion: How many?"));
    }
}

#[tokio::test]
async fn a_small_model_is_not_shown_what_it_takes_for_the_answer() {
    let turns = [list_step(), final_step("Ten.")];
    let listing = |_: &ToolCall| done("a  10 lines, 99 bytes\nTotal: 1 files, 10 lines, 99 bytes.\n");
    let done = ask(conversation(Wire::OpenAi, Mode::Steps), script(Format::OpenAi, turns), listing).await;
    assert!(done.last_message(1).contains("\na  10 lines, 99 bytes\nTotal: 1 files, 10 lines.\n[end "));
}

#[tokio::test]
async fn the_beginning_is_the_same_for_every_conversation() {
    let mut beginnings = Vec::new();
    for random in [[1; 16], [2; 16]] {
        let conversation = Conversation::new(model(Wire::OpenAi, Mode::Steps), random, limits());
        let turns = [list_step(), final_step("Ten.")];
        let done = ask(conversation, script(Format::OpenAi, turns), |_| done("x")).await;
        let messages = |chat: usize| done.chats[chat]["messages"].as_array().unwrap().clone();
        assert!(messages(1).starts_with(&messages(0)));
        beginnings.push(messages(0));
    }
    assert_eq!(beginnings[0], beginnings[1]);
}

#[tokio::test]
async fn the_last_step_can_only_answer() {
    for (wire, format) in WIRES {
        let mut turns: Vec<Say> =
            (0..5).map(|n| step("read_file", json!({ "path": format!("f{n}") }))).collect();
        turns.push(final_step("I do not know."));
        let done = ask(conversation(wire, Mode::Steps), script(format, turns), |_| done("nothing")).await;
        assert_eq!(done.text(), "I do not know.");
        assert_eq!((done.calls.len(), done.chats.len()), (5, 6));
        assert!(is_schema(&done.chats[4], Choice::Either));
        assert!(is_schema(&done.chats[5], Choice::Answer));
    }
}

#[tokio::test]
async fn the_same_call_twice_is_made_once_and_then_the_answer_is_due() {
    let turns = [list_step(), list_step(), final_step("Ten.")];
    let done =
        ask(conversation(Wire::OpenAi, Mode::Steps), script(Format::OpenAi, turns), |_| done("x")).await;
    assert_eq!((done.text(), done.calls.len()), ("Ten.", 1));
    assert!(is_schema(&done.chats[2], Choice::Answer));
    assert_eq!(done.chats[1]["messages"], done.chats[2]["messages"]);
}

#[tokio::test]
async fn a_failed_command_is_said_by_the_agent_itself() {
    let turns = [step("run", json!({ "argv": ["make"] })), final_step("All is well!")];
    let failed = |_: &ToolCall| ToolResult::Failed { failure: Failure::NotStarted, text: String::new() };
    let done = ask(conversation(Wire::Ollama, Mode::Steps), script(Format::Ollama, turns), failed).await;
    assert!(matches!(&done.voice.notes[..], [Note::ToolFailed { failure: Failure::NotStarted, .. }]));
    assert_eq!(done.answer.unwrap().failed, 1);
}

#[tokio::test]
async fn a_denied_step_says_its_code_and_nothing_else() {
    let turns = [step("run", json!({ "argv": ["make"] })), final_step("It was denied.")];
    let done = ask(conversation(Wire::OpenAi, Mode::Steps), script(Format::OpenAi, turns), |_| {
        ToolResult::Denied { code: 17 }
    })
    .await;
    assert_eq!(done.last_message(1), "denied (code 17)\nQuestion: How many?");
}

#[tokio::test]
async fn a_server_that_ignores_the_schema_ends_in_an_error_and_runs_nothing() {
    for (wire, format) in WIRES {
        let script = Script { repeat: true, ..script(format, [Say::text("I would run rm now.")]) };
        let done = ask(conversation(wire, Mode::Steps), script, |_| panic!("run")).await;
        assert_eq!(done.answer, Err(AskError::NoAnswer));
        assert_eq!(done.chats.len(), 6);
        assert_eq!(done.voice.text, "");
    }
}

#[tokio::test]
async fn an_unknown_tool_is_told_back() {
    let turns = [step("sudo", json!({ "argv": ["rm"] })), final_step("No.")];
    let done =
        ask(conversation(Wire::OpenAi, Mode::Steps), script(Format::OpenAi, turns), |_| panic!("run")).await;
    assert!(done.last_message(1).starts_with("Error: there is no tool \"sudo\""));
    assert_eq!(done.text(), "No.");
}

#[tokio::test]
async fn an_empty_answer_is_none() {
    let turns = [list_step(), final_step("  ")];
    let done =
        ask(conversation(Wire::OpenAi, Mode::Steps), script(Format::OpenAi, turns), |_| done("x")).await;
    assert_eq!(done.answer, Err(AskError::NoAnswer));
}

#[tokio::test]
async fn of_an_answered_question_the_question_and_the_answer_are_kept() {
    let turns = [list_step(), final_step("Ten."), list_step(), final_step("Still ten.")];
    let mut servers = Servers::start([script(Format::OpenAi, turns)]);
    let mut conversation = conversation(Wire::OpenAi, Mode::Steps);
    let mut voice = Recorder::default();
    let mut hands = FakeHands::new(|_: &ToolCall| done("the listing"));
    for question in ["How many?", "And now?"] {
        conversation.ask(question, &mut servers, &mut hands, &mut voice).await.unwrap();
    }
    let messages = servers.0[0].chats()[2]["messages"].as_array().unwrap().clone();
    let last: Vec<&str> = messages.iter().rev().take(3).map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(
        last,
        ["Question: And now?", r#"{"tool": "answer", "args": {"text": "Ten."}}"#, "Question: How many?"]
    );
}
