//! Every format with every fault, through the real HTTP client.

use closedpaw_tests::scripted::{Fault, Server};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::agent::http::Stage;
use crate::agent::ports::{BoxStream, DialError, Note};
use crate::agent::testing::{impatient, no_hands};

const ANSWER: &str = "This is the whole answer, and there is nothing behind it.";

fn every_fault() -> Vec<Fault> {
    vec![
        Fault::SlowFirstByte(60_000),
        Fault::Stall,
        Fault::ByteByByte,
        Fault::Garbage,
        Fault::EndlessLine,
        Fault::EndlessStream,
        Fault::Status(500, "boom".into()),
        Fault::ErrorMidStream("boom".into()),
        Fault::CutByClose,
        Fault::CutByEnd,
        Fault::CutByLength,
        Fault::HugeArguments(2 << 20),
        Fault::NoDone,
        Fault::ContentType("text/html; charset=utf-8".into()),
        Fault::HangUp,
        Fault::NotHttp,
        Fault::Impostor,
    ]
}

/// What a fault makes of a text; none if the answer is whole all the same.
fn error_of(fault: &Fault, format: Format) -> Option<AskError> {
    Some(match fault {
        Fault::SlowFirstByte(_) => AskError::Slow(Stage::Head),
        Fault::Stall => AskError::Slow(Stage::Idle),
        Fault::Garbage if format == Format::Ollama => AskError::Nonsense("a line is not Ollama's JSON"),
        Fault::Garbage => AskError::Nonsense("an event is not a chat completion"),
        Fault::EndlessLine if format == Format::Ollama => AskError::TooLarge("a line"),
        Fault::EndlessLine => AskError::TooLarge("an event"),
        Fault::EndlessStream => AskError::TooLarge("a response"),
        Fault::Status(..) => AskError::Refused { status: 500, words: "boom".into() },
        Fault::ErrorMidStream(_) => AskError::Server("boom".into()),
        Fault::CutByClose | Fault::CutByEnd | Fault::HangUp => AskError::BrokenOff,
        Fault::NoDone if format == Format::Ollama => AskError::BrokenOff,
        Fault::ContentType(_) | Fault::NotHttp | Fault::Impostor => AskError::NotAModelServer,
        Fault::ByteByByte | Fault::CutByLength | Fault::HugeArguments(_) | Fault::NoDone => return None,
    })
}

async fn ask_failing(wire: Wire, format: Format, mode: Mode, say: Say, fault: &Fault) -> Done {
    let conversation = Conversation::new(model(wire, mode), [7; 16], impatient());
    let script = Script { repeat: true, ..script(format, [say.failing(fault.clone())]) };
    ask(conversation, script, |call| panic!("{call} was run")).await
}

#[tokio::test]
async fn every_fault_of_a_text_has_its_own_end() {
    for (wire, format) in WIRES {
        for fault in every_fault() {
            let done = ask_failing(wire, format, Mode::Native, Say::text(ANSWER), &fault).await;
            match (error_of(&fault, format), done.answer) {
                (Some(error), answer) => assert_eq!(answer, Err(error), "{fault:?} {format:?}"),
                (None, Ok(answer)) if fault == Fault::CutByLength => {
                    assert!(answer.cut && ANSWER.starts_with(&answer.text), "{answer:?}");
                    assert_eq!(done.voice.notes, [Note::AnswerCut]);
                }
                (None, answer) => {
                    assert_eq!(answer.map(|answer| answer.text), Ok(ANSWER.into()), "{fault:?}")
                }
            }
            let shown = done.voice.text;
            let endless = fault == Fault::EndlessStream;
            assert!(ANSWER.starts_with(&shown) || endless, "nothing is shown twice: {fault:?} {shown:?}");
        }
    }
}

#[tokio::test]
async fn no_call_of_a_broken_turn_is_ever_run() {
    for (wire, format) in WIRES {
        for fault in every_fault() {
            let whole =
                matches!(fault, Fault::ByteByByte) || (fault == Fault::NoDone && format == Format::OpenAi);
            if whole {
                continue;
            }
            let call = run(&["rm", "a file with a long name", "and another one"]);
            let done = ask_failing(wire, format, Mode::Native, call, &fault).await;
            assert!(done.answer.is_err() && done.calls.is_empty(), "{fault:?} {format:?}");
            let step = Say::step("run", json!({ "argv": ["rm", "a file with a long name"] }));
            if matches!(fault, Fault::HugeArguments(_)) {
                continue;
            }
            let done = ask_failing(wire, format, Mode::Steps, step, &fault).await;
            assert!(done.answer.is_err() && done.calls.is_empty(), "{fault:?} {format:?}");
        }
    }
}

#[tokio::test]
async fn calls_that_arrive_byte_by_byte_are_run_once() {
    for (wire, format) in WIRES {
        for fault in [Fault::ByteByByte, Fault::HugeArguments(0)] {
            if fault == Fault::HugeArguments(0) && format == Format::Ollama {
                continue;
            }
            let turns = [list().failing(Fault::ByteByByte), Say::text(ANSWER).failing(Fault::ByteByByte)];
            let done = ask(conversation(wire, Mode::Native), script(format, turns), |_| done("x")).await;
            assert_eq!((done.text(), done.calls.len()), (ANSWER, 1));
        }
    }
}

#[tokio::test]
async fn what_broke_before_anything_was_shown_is_asked_again() {
    for (wire, format) in WIRES {
        for fault in
            [Fault::HangUp, Fault::Status(503, "busy".into()), Fault::Status(429, "slow down".into())]
        {
            let turns = [Say::text("x").failing(fault.clone()), Say::text(ANSWER).into()];
            let done = ask(conversation(wire, Mode::Native), script(format, turns), |_| panic!("run")).await;
            assert_eq!(done.text(), ANSWER, "{fault:?}");
            assert_eq!(done.voice.notes, [Note::Retrying]);
            assert_eq!(done.chats[0], done.chats[1]);
        }
        let script = Script { repeat: true, ..script(format, [Say::text("x").failing(Fault::HangUp)]) };
        let done = ask(conversation(wire, Mode::Native), script, |_| panic!("run")).await;
        assert_eq!((done.answer, done.chats.len()), (Err(AskError::BrokenOff), 3), "but not for ever");
    }
}

#[tokio::test]
async fn a_trickle_ends_with_the_whole_time() {
    let timeouts =
        crate::agent::limits::Timeouts { whole: std::time::Duration::from_millis(200), ..limits().timeouts };
    let limits = Limits {
        timeouts,
        guards: crate::agent::limits::Guards { response: usize::MAX, ..limits().guards },
        ..limits()
    };
    for (wire, format) in WIRES {
        let conversation = Conversation::new(model(wire, Mode::Native), [7; 16], limits);
        let script = script(format, [Say::text("x").failing(Fault::EndlessStream)]);
        let done = ask(conversation, script, |_| panic!("run")).await;
        assert_eq!(done.answer, Err(AskError::Slow(Stage::Whole)));
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let script = script(Format::OpenAi, [Say::text(ANSWER)]);
    let server = Server::on_socket(script, &folder.path().join("model.sock")).unwrap();
    let mut servers = Servers(vec![server]);
    let mut conversation = conversation(Wire::OpenAi, Mode::Native);
    let answer =
        conversation.ask("?", &mut servers, &mut no_hands(), &mut Recorder::default()).await.unwrap();
    assert_eq!(answer.text, ANSWER);
}

#[tokio::test]
async fn a_connection_is_closed_when_the_question_is_dropped() {
    let mut servers = Servers::start([script(
        Format::OpenAi,
        [Say::text(ANSWER).failing(Fault::Stall), Say::text(ANSWER).into()],
    )]);
    let mut conversation = conversation(Wire::OpenAi, Mode::Native);
    let mut hands = no_hands();
    let mut voice = Recorder::default();
    {
        let asked = conversation.ask("?", &mut servers, &mut hands, &mut voice);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(200), asked).await.is_err());
    }
    assert!(conversation.ask("?", &mut servers, &mut hands, &mut voice).await.is_ok());
}

/// Answers every connection with these bytes, and hangs up.
struct Canned(Vec<u8>);

impl Dial for Canned {
    async fn dial(&mut self, _endpoint: usize) -> Result<BoxStream, DialError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let bytes = self.0.clone();
        tokio::spawn(async move {
            // What comes before a request is nobody's answer.
            theirs.read_u8().await?;
            theirs.write_all(&bytes).await?;
            theirs.shutdown().await?;
            tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await
        });
        Ok(Box::new(ours))
    }
}

fn answered(bytes: Vec<u8>, wire: Wire, mode: Mode) -> Result<Answer, AskError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut hands = FakeHands::new(|_: &ToolCall| done("x"));
        conversation(wire, mode).ask("?", &mut Canned(bytes), &mut hands, &mut Recorder::default()).await
    })
}

fn response(wire: Wire, text: &str) -> Vec<u8> {
    let frames = match wire {
        Wire::Ollama => {
            format!("{}\n{{\"done\":true}}\n", json!({ "message": { "content": text }, "done": false }))
        }
        Wire::OpenAi => {
            format!("data: {}\n\ndata: [DONE]\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
        }
    };
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{frames}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_server_sends_the_question_ends(
        head in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n",
        ]),
        body in any::<Vec<u8>>(),
    ) {
        let bytes = [head.as_bytes(), &body].concat();
        for (wire, _) in WIRES {
            prop_assert!(answered(bytes.clone(), wire, Mode::Native).is_err());
            prop_assert!(answered(bytes.clone(), wire, Mode::Steps).is_err());
        }
    }

    #[test]
    fn whatever_the_model_says_the_question_ends(
        text in prop_oneof![
            "\\PC*",
            "[{}\\[\\]\"`<>a-z_: ]{0,80}",
            Just(r#"{"tool":"run","args":{"argv":["x"]}}"#.to_owned()),
            Just(r#"{"name":"run","arguments":{"argv":["x"]}}"#.to_owned()),
            Just("<tool_call>{\"name\":\"list_files\",\"arguments\":{}}</tool_call>".to_owned()),
        ],
    ) {
        for (wire, _) in WIRES {
            for mode in [Mode::Native, Mode::Steps] {
                let answer = answered(response(wire, &text), wire, mode);
                let plain = mode == Mode::Native && crate::agent::rescue::calls(&text).is_empty();
                match answer {
                    Ok(answer) => prop_assert_eq!(answer.text, text.trim()),
                    Err(error) if plain => prop_assert!(error == AskError::NoAnswer && text.trim().is_empty()),
                    Err(_) => {}
                }
            }
        }
    }
}

#[test]
fn a_head_without_end_is_no_answer() {
    let many = format!("HTTP/1.1 200 OK\r\n{}", "X-Y: z\r\n".repeat(50_000));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 19));
    for head in [many, long] {
        let answer = answered(head.into_bytes(), Wire::OpenAi, Mode::Native);
        assert_eq!(answer, Err(AskError::NotAModelServer));
    }
}
