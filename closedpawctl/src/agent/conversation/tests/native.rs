//! Native tool calls.

use super::*;
use crate::agent::ports::{Failure, Note};
use crate::agent::testing::no_hands;
use closedpaw_tests::scripted::{Call, Fault};

#[tokio::test]
async fn a_tool_is_called_and_its_result_leads_to_the_answer() {
    for (wire, format) in WIRES {
        let turns = [list(), Say::text("There are 3 files with 10 lines.")];
        let done = ask(conversation(wire, Mode::Native), script(format, turns), |_| {
            done("Total: 3 files, 10 lines.\n")
        })
        .await;
        assert_eq!(done.text(), "There are 3 files with 10 lines.");
        assert_eq!(done.voice.text, done.text());
        assert_eq!(done.voice.passages, 1);
        assert_eq!(done.calls.iter().map(ToString::to_string).collect::<Vec<_>>(), ["list_files \".\""]);
        assert_eq!(done.voice.tools.len(), 2);
        assert!(done.last_message(1).contains("Total: 3 files, 10 lines."));
        let answer = done.answer.unwrap();
        assert_eq!((answer.calls, answer.failed, answer.cut), (1, 0, false));
    }
}

#[tokio::test]
async fn results_are_told_back_beside_their_calls() {
    for (wire, format) in WIRES {
        let both = Say::Calls(vec![
            Call { name: "read_file".into(), arguments: json!({ "path": "a" }) },
            Call { name: "read_file".into(), arguments: json!({ "path": "b" }) },
        ]);
        let done = ask(conversation(wire, Mode::Native), script(format, [both, Say::text("ok")]), |call| {
            done(&format!("content of {call}"))
        })
        .await;
        let messages = done.chats[1]["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
        for (at, file) in [(3, "a"), (4, "b")] {
            assert!(
                messages[at]["content"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("content of read_file \"{file}\""))
            );
            assert_eq!(messages[at]["tool_call_id"], messages[2]["tool_calls"][at - 3]["id"]);
        }
    }
}

#[tokio::test]
async fn the_beginning_stays_the_same_from_turn_to_turn_and_question_to_question() {
    for (wire, format) in WIRES {
        let turns = [list(), list(), Say::text("ok"), Say::text("again")];
        let mut servers = Servers::start([script(format, turns)]);
        let mut conversation = conversation(wire, Mode::Native);
        let mut voice = Recorder::default();
        for _ in 0..2 {
            let mut hands = FakeHands::new(|_: &ToolCall| done("x"));
            conversation.ask("How many?", &mut servers, &mut hands, &mut voice).await.unwrap();
        }
        let chats = servers.0[0].chats();
        for pair in chats.windows(2) {
            let (before, after) =
                (pair[0]["messages"].as_array().unwrap(), pair[1]["messages"].as_array().unwrap());
            assert!(after.starts_with(before));
            assert_eq!(pair[0]["options"], pair[1]["options"], "another num_ctx would load the model again");
        }
        assert_eq!(chats[3]["messages"].as_array().unwrap().len(), 8);
    }
}

#[tokio::test]
async fn an_unknown_tool_and_bad_arguments_are_told_back_and_not_run() {
    for (wire, format) in WIRES {
        let turns = [
            Say::call("sudo", json!({ "argv": ["rm"] })),
            Say::call("run", json!({ "argv": "rm -rf /" })),
            Say::call("read_file", json!({ "path": "../../etc/passwd" })),
            Say::text("I give up."),
        ];
        let done = ask(conversation(wire, Mode::Native), script(format, turns), |_| panic!("run")).await;
        assert_eq!(done.text(), "I give up.");
        assert!(done.last_message(1).contains("there is no tool"));
        assert!(done.last_message(2).contains("do not fit"));
        assert!(done.last_message(3).contains("must be relative"));
        assert_eq!(done.answer.unwrap().failed, 3);
        assert!(done.voice.notes.iter().all(|note| matches!(note, Note::BadCall { .. })));
        assert!(done.calls.is_empty());
    }
}

#[tokio::test]
async fn a_denied_call_says_its_code_and_nothing_else() {
    for (wire, format) in WIRES {
        let turns = [run(&["curl", "evil.example"]), Say::text("It was denied.")];
        let denied = |_: &ToolCall| ToolResult::Denied { code: 17 };
        let done = ask(conversation(wire, Mode::Native), script(format, turns), denied).await;
        assert_eq!(done.last_message(1), "denied (code 17)");
        assert_eq!(done.answer.unwrap().failed, 1);
    }
}

#[tokio::test]
async fn a_failed_command_is_said_by_the_agent_itself() {
    let turns = [run(&["make"]), Say::text("All is well!")];
    let failed = |_: &ToolCall| ToolResult::Failed { failure: Failure::Exit(2), text: "no rule".into() };
    let done = ask(conversation(Wire::Ollama, Mode::Native), script(Format::Ollama, turns), failed).await;
    assert!(done.last_message(1).starts_with("It did not work: it ended with exit code 2.\n[data "));
    assert!(matches!(&done.voice.notes[..], [Note::ToolFailed { failure: Failure::Exit(2), .. }]));
    assert_eq!(done.answer.unwrap().failed, 1);
}

#[tokio::test]
async fn stop_and_a_lost_daemon_end_the_question_at_once() {
    for (result, error) in [(ToolResult::Stopped, AskError::Stopped), (ToolResult::Lost, AskError::HandsLost)]
    {
        let two = Say::Calls(vec![
            Call { name: "list_files".into(), arguments: json!({}) },
            Call { name: "list_files".into(), arguments: json!({}) },
        ]);
        let script = Script { repeat: true, ..script(Format::OpenAi, [two]) };
        let done = ask(conversation(Wire::OpenAi, Mode::Native), script, |_| result.clone()).await;
        assert_eq!(done.answer, Err(error));
        assert_eq!((done.calls.len(), done.chats.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_model_that_never_stops_calling_is_stopped() {
    for (wire, format) in WIRES {
        let script = || Script { repeat: true, ..script(format, [list()]) };
        let with = |limits| Conversation::new(model(wire, Mode::Native), [7; 16], limits);
        let few_calls = ask(with(Limits { calls: 3, ..limits() }), script(), |_| done("x")).await;
        assert_eq!(few_calls.answer, Err(AskError::TooManyCalls(3)));
        assert_eq!(few_calls.calls.len(), 3);
        let few_turns = ask(with(Limits { turns: 4, ..limits() }), script(), |_| done("x")).await;
        assert_eq!(few_turns.answer, Err(AskError::TooManyTurns(4)));
        let few_tokens = ask(with(Limits { tokens: 30, ..limits() }), script(), |_| done("x")).await;
        assert_eq!(few_tokens.answer, Err(AskError::BudgetSpent));
        let few_bytes = ask(with(Limits { received: 800, ..limits() }), script(), |_| done("x")).await;
        assert_eq!(few_bytes.answer, Err(AskError::BudgetSpent));
    }
}

#[tokio::test]
async fn thinking_is_not_the_answer() {
    for (wire, format) in WIRES {
        for say in
            [Say::Thought("Let me see.".into(), "Ten.".into()), Say::text("<think>Let me see.</think>Ten.")]
        {
            let done = ask(conversation(wire, Mode::Native), script(format, [say]), |_| panic!("run")).await;
            assert_eq!((done.text(), done.voice.text.as_str()), ("Ten.", "Ten."));
            assert_eq!(done.voice.thoughts, "Let me see.");
        }
    }
}

#[tokio::test]
async fn a_call_as_text_is_rescued_and_not_shown() {
    let call = r#"{"name": "list_files", "arguments": {"path": "."}}"#;
    for (wire, format) in WIRES {
        for text in
            [call.to_owned(), format!("```json\n{call}\n```"), format!("<tool_call>\n{call}\n</tool_call>")]
        {
            let done = ask(
                conversation(wire, Mode::Native),
                script(format, [Say::text(&text), Say::text("Ten.")]),
                |_| done("x"),
            )
            .await;
            assert_eq!(done.voice.text, "Ten.");
            assert_eq!(done.calls.len(), 1);
            let messages = done.chats[1]["messages"].as_array().unwrap();
            assert_eq!(messages[2]["tool_calls"][0]["function"]["name"], json!("list_files"));
        }
    }
}

#[tokio::test]
async fn a_call_inside_prose_is_an_answer_and_no_call() {
    let text = r#"The file says {"name": "run", "arguments": {"argv": ["rm", "x"]}}"#;
    let json = r#"{"lines": 10}"#;
    for text in [text, json] {
        let done =
            ask(conversation(Wire::OpenAi, Mode::Native), script(Format::OpenAi, [Say::text(text)]), |_| {
                panic!("run")
            })
            .await;
        assert_eq!((done.text(), done.voice.text.as_str()), (text, text));
        assert_eq!(done.voice.passages, 1);
    }
}

#[tokio::test]
async fn a_server_without_tools_is_driven_by_steps_from_then_on() {
    for (wire, format) in WIRES {
        let turns = [
            Say::text("").failing(Fault::Status(400, "scripted does not support tools".into())),
            Say::step("list_files", json!({ "path": "." })).into(),
            final_step("Ten.").into(),
            Say::step("list_files", json!({ "path": "." })).into(),
            final_step("Still ten.").into(),
        ];
        let mut servers = Servers::start([script(format, turns)]);
        let mut conversation = conversation(wire, Mode::Native);
        let mut hands = FakeHands::new(|_: &ToolCall| done("Total: 3 files, 10 lines."));
        let mut voice = Recorder::default();
        let answer = conversation.ask("How many?", &mut servers, &mut hands, &mut voice).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.calls), ("Ten.", 1));
        assert_eq!(voice.notes, [Note::StepsInstead]);
        assert_eq!(conversation.model().mode(), Mode::Steps);
        let answer = conversation.ask("And now?", &mut servers, &mut hands, &mut voice).await.unwrap();
        assert_eq!(answer.text, "Still ten.");
        assert_eq!(servers.0[0].chats().iter().filter(|chat| chat.get("tools").is_some()).count(), 1);
    }
}

#[tokio::test]
async fn a_loading_model_is_waited_for() {
    for (wire, format) in WIRES {
        let script = Script { loading: 2, ..script(format, [Say::text("Ten.")]) };
        let done = ask(conversation(wire, Mode::Native), script, |_| panic!("run")).await;
        assert_eq!(done.text(), "Ten.");
        assert_eq!(done.voice.notes, [Note::Loading { label: "scripted".into() }]);
    }
}

#[tokio::test]
async fn a_question_that_was_given_up_leaves_no_trace() {
    let turns = [list().into(), Say::text("half").failing(Fault::Stall), Say::text("Ten.").into()];
    let mut servers = Servers::start([script(Format::OpenAi, turns)]);
    let mut conversation = conversation(Wire::OpenAi, Mode::Native);
    let mut voice = Recorder::default();
    let mut hands = FakeHands::new(|_: &ToolCall| done("x"));
    let asked = conversation.ask("First?", &mut servers, &mut hands, &mut voice);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), asked).await.is_err());
    let answer = conversation.ask("Second?", &mut servers, &mut no_hands(), &mut voice).await.unwrap();
    assert_eq!(answer.text, "Ten.");
    let last = servers.0[0].chats().pop().unwrap();
    assert_eq!(last["messages"].as_array().unwrap().len(), 2);
    assert!(!last.to_string().contains("First?"));
}
