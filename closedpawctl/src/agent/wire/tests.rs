//! Every pitfall of the formats, and the two properties of all parsers: hostile bytes do no harm, and the way a
//! stream is cut makes no difference.

use proptest::prelude::*;

use super::turn::{Call, Collector, Turn};
use super::*;
use crate::agent::limits::Guards;

fn events(mut parser: impl Parser, pieces: &[&[u8]]) -> Vec<Event> {
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| parser.push(piece, &mut out));
    parser.finish(&mut out);
    assert!(parser.ended());
    out
}

fn ollama(stream: &str) -> Result<Turn, WireError> {
    turn(events(Ollama::new(&Guards::default()), &[stream.as_bytes()]))
}

fn openai(stream: &str) -> Result<Turn, WireError> {
    turn(events(OpenAi::new(&Guards::default()), &[stream.as_bytes()]))
}

fn turn(events: Vec<Event>) -> Result<Turn, WireError> {
    let mut collector = Collector::default();
    events.into_iter().for_each(|event| collector.add(event));
    collector.finish()
}

fn text(text: &str) -> Result<Turn, WireError> {
    Ok(Turn::Complete { text: text.into(), thinking: String::new(), calls: Vec::new() })
}

fn calls(calls: &[(&str, &str, &str)]) -> Result<Turn, WireError> {
    let call = |(id, name, arguments): &(&str, &str, &str)| Call {
        id: (*id).into(),
        name: (*name).into(),
        arguments: (*arguments).into(),
    };
    let calls = calls.iter().map(call).collect();
    Ok(Turn::Complete { text: String::new(), thinking: String::new(), calls })
}

fn sse(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

// Ollama

#[test]
fn ollama_text_comes_in_pieces_and_ends_with_done() {
    let stream = concat!(
        r#"{"model":"m","created_at":"2026-01-01T00:00:00.123456789Z","message":{"role":"assistant","content":"Hel"},"done":false}"#,
        "\r\n\n",
        r#"{"model":"m","message":{"role":"assistant","content":"lo"},"done":false}"#,
        "\n \n",
        r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1,"prompt_eval_count":7,"eval_count":2}"#,
    );
    assert_eq!(ollama(stream), text("Hello"));
    let out = events(Ollama::new(&Guards::default()), &[stream.as_bytes()]);
    assert!(out.contains(&Event::Usage(Usage { prompt: 7, generated: 2 })));
}

#[test]
fn ollama_calls_are_told_by_their_presence_not_by_the_reason() {
    let stream = concat!(
        r#"{"message":{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"index":0,"name":"run","arguments":{"argv":["ls"]}}}]},"done":false}"#,
        "\n",
        r#"{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"index":0,"name":"read_file","arguments":{"path":"x"}}},{"function":{"name":"list_files","arguments":{}}}]},"done":false}"#,
        "\n",
        r#"{"done":true,"done_reason":"stop"}"#,
    );
    assert_eq!(
        ollama(stream),
        calls(&[
            ("a", "run", r#"{"argv":["ls"]}"#),
            ("", "read_file", r#"{"path":"x"}"#),
            ("", "list_files", "{}"),
        ])
    );
}

#[test]
fn ollama_arguments_may_be_missing_null_or_a_string() {
    let stream = concat!(
        r#"{"message":{"tool_calls":[{"function":{"name":"a"}},{"function":{"name":"b","arguments":null}},{"function":{"name":"c","arguments":"{\"x\":1}"}}]},"done":false}"#,
        "\n",
        r#"{"done":true}"#,
    );
    assert_eq!(ollama(stream), calls(&[("", "a", "{}"), ("", "b", "{}"), ("", "c", r#"{"x":1}"#)]));
}

#[test]
fn ollama_an_error_line_ends_the_stream_whatever_came_before() {
    let before = r#"{"message":{"content":"half"},"done":false}"#;
    for (line, words) in
        [(r#"{"error":"out of memory"}"#, "out of memory"), (r#"{"error":{"message":"m","code":5}}"#, "m")]
    {
        let stream = format!("{before}\n{line}\n{before}\n{{\"done\":true}}\n");
        assert_eq!(ollama(&stream), Err(WireError::Server(words.into())));
    }
}

#[test]
fn ollama_a_cut_turn_has_no_calls() {
    let call = r#"{"message":{"tool_calls":[{"function":{"name":"run","arguments":{"argv":["rm"]}}}]},"done":false}"#;
    for reason in ["length", "load", "unload", "something new"] {
        let stream = format!("{call}\n{{\"done\":true,\"done_reason\":\"{reason}\"}}\n");
        assert!(matches!(ollama(&stream), Ok(Turn::Truncated { .. })), "{reason}");
    }
    assert_eq!(ollama(call), Err(WireError::CutOff), "the connection closed before the end");
    assert_eq!(ollama(call.get(..60).unwrap()), Err(WireError::CutOff), "or in the middle of a line");
}

#[test]
fn ollama_thinking_is_apart_in_both_its_forms() {
    let field = r#"{"message":{"thinking":"hm","content":"a"},"done":false}"#.to_owned() + "\n{\"done\":true}";
    let inline = r#"{"message":{"content":"<think>h"},"done":false}"#.to_owned()
        + "\n"
        + r#"{"message":{"content":"m</think>a"},"done":true}"#;
    let wanted = Ok(Turn::Complete { text: "a".into(), thinking: "hm".into(), calls: Vec::new() });
    assert_eq!(ollama(&field), wanted);
    assert_eq!(ollama(&inline), wanted);
}

#[test]
fn ollama_nonsense_is_said_to_be_nonsense() {
    for stream in ["hello\n", "{}\n", "{\"status\":\"success\"}\n", "[1]\n", "\"x\"\n", "{\"done\":\"yes\"}\n"] {
        assert!(matches!(ollama(stream), Err(WireError::Nonsense(_))), "{stream}");
    }
    assert_eq!(ollama(""), Err(WireError::CutOff));
}

// OpenAI

#[test]
fn openai_text_comes_in_pieces() {
    let stream = sse(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"lo"}}]}"#,
        STOP,
        r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2},"timings":{"x":1.5}}"#,
        "[DONE]",
    ]);
    assert_eq!(openai(&stream), text("Hello"));
    assert_eq!(openai(&stream.replace('\n', "\r\n")), text("Hello"));
    assert_eq!(openai(&format!(": keep-alive\n\n{stream}")), text("Hello"));
    let out = events(OpenAi::new(&Guards::default()), &[stream.as_bytes()]);
    assert!(out.contains(&Event::Usage(Usage { prompt: 7, generated: 2 })));
}

#[test]
fn openai_done_may_be_missing_but_the_reason_may_not_be_too() {
    let half = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    assert_eq!(openai(&sse(&[half, STOP])), text("x"));
    assert_eq!(openai(sse(&[half, STOP]).trim_end()), text("x"), "nor the last empty line");
    assert_eq!(openai(&sse(&[half, "[DONE]"])), text("x"));
    assert_eq!(openai(&sse(&[half])), Err(WireError::CutOff));
    assert_eq!(openai(""), Err(WireError::CutOff));
}

#[test]
fn openai_choices_may_be_empty_or_null() {
    let stream = sse(&[
        r#"{"choices":[{"delta":{"content":"x"}}]}"#,
        r#"{"choices":null,"usage":{"prompt_tokens":1}}"#,
        r#"{"choices":[]}"#,
        STOP,
        "[DONE]",
    ]);
    assert_eq!(openai(&stream), text("x"));
}

#[test]
fn openai_calls_come_in_fragments_or_whole() {
    let fragments = sse(&[
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"run","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"ar"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"gv\":[\"ls\"]}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
        "[DONE]",
    ]);
    assert_eq!(openai(&fragments), calls(&[("call_1", "run", r#"{"argv":["ls"]}"#)]));
    // Whole, without index and id, as an object, and the reason says stop.
    let whole = sse(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"run","arguments":{"argv":["ls"]}}},{"function":{"name":"list_files"}}]}}]}"#,
        STOP,
    ]);
    assert_eq!(openai(&whole), calls(&[("", "run", r#"{"argv":["ls"]}"#), ("", "list_files", "{}")]));
}

#[test]
fn openai_a_cut_turn_has_no_calls() {
    let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"argv\":[\"rm\"]}"}}]}}]}"#;
    for reason in ["length", "content_filter", "abort"] {
        let end = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        assert!(matches!(openai(&sse(&[call, &end, "[DONE]"])), Ok(Turn::Truncated { .. })), "{reason}");
    }
    assert_eq!(openai(&sse(&[call])), Err(WireError::CutOff));
    let stream = sse(&[call, STOP]);
    assert_eq!(openai(stream.get(..stream.len() - 10).unwrap()), Err(WireError::CutOff));
}

#[test]
fn openai_an_error_inside_the_stream_ends_it() {
    let before = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    let error = r#"{"error":{"code":500,"message":"out of memory","type":"server_error"}}"#;
    assert_eq!(openai(&sse(&[before, error, STOP])), Err(WireError::Server("out of memory".into())));
}

#[test]
fn openai_reasoning_has_many_names() {
    for delta in [
        r#"{"reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"reasoning_content":"hm","reasoning":"hm"}"#,
        r#"{"content":"<think>hm</think>"}"#,
    ] {
        let thought = format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#);
        let stream = sse(&[&thought, r#"{"choices":[{"delta":{"content":"a","reasoning":{"x":1}}}]}"#, STOP]);
        let wanted = Turn::Complete { text: "a".into(), thinking: "hm".into(), calls: Vec::new() };
        assert_eq!(openai(&stream), Ok(wanted), "{delta}");
    }
}

#[test]
fn openai_other_choices_are_not_mixed_in() {
    let stream = sse(&[r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#, STOP]);
    assert_eq!(openai(&stream), text("a"));
}

#[test]
fn openai_nonsense_is_said_to_be_nonsense() {
    for data in ["hello", "{}", "[1]", "{\"choices\":5}", r#"{"choices":[{"delta":{"content":5}}]}"#] {
        assert!(matches!(openai(&sse(&[data, STOP])), Err(WireError::Nonsense(_))), "{data}");
    }
    assert_eq!(openai("<html></html>\n\n"), Err(WireError::CutOff));
}

#[test]
fn openai_a_whole_response_is_understood() {
    let body = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let parser = || Whole::new(&Guards::default());
    assert_eq!(turn(events(parser(), &[body.as_bytes()])), text("x"));
    assert_eq!(turn(events(parser(), &[&body.as_bytes()[..50]])), Err(WireError::CutOff));
    let error = br#"{"error":{"message":"no"}}"#;
    assert_eq!(turn(events(parser(), &[error])), Err(WireError::Server("no".into())));
}

// All formats

#[test]
fn every_guard_holds() {
    let guards = Guards { line: 200, arguments: 20, calls: 2, ..Guards::default() };
    let long = "x".repeat(1000);
    for events in [
        events(Ollama::new(&guards), &[long.as_bytes()]),
        events(OpenAi::new(&guards), &[b"data: ", long.as_bytes()]),
        events(OpenAi::new(&guards), &[long.as_bytes()]),
        events(Whole::new(&guards), &[long.as_bytes()]),
        events(Ollama::new(&guards), &[br#"{"message":{"tool_calls":[{"function":{"name":"run","arguments":{"argv":["xxxxxxxxxxxxxxxx"]}}}]},"done":false}
"#]),
        events(Ollama::new(&guards), &[br#"{"message":{"tool_calls":[{"function":{}},{"function":{}},{"function":{}}]},"done":false}
"#]),
    ] {
        assert!(matches!(turn(events.clone()), Err(WireError::TooLarge(_))), "{events:?}");
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let deep = "[".repeat(1 << 20);
    let line = format!(r#"{{"message":{{"tool_calls":[{{"function":{{"name":"run","arguments":{deep}}}}}]}},"done":false}}"#);
    assert!(ollama(&(line + "\n")).is_err());
    assert!(openai(&sse(&[&format!(r#"{{"error":{deep}}}"#)])).is_err());
}

#[test]
fn after_the_end_a_parser_is_silent() {
    let done = "{\"done\":true}\n";
    assert_eq!(ollama(&format!("{done}{done}garbage\n")), text(""));
    assert_eq!(openai(&sse(&[STOP, "[DONE]", "garbage", "[DONE]"])), text(""));
    let mut parser = Ollama::new(&Guards::default());
    let mut out = Vec::new();
    parser.push(done.as_bytes(), &mut out);
    let before = out.len();
    parser.push(done.as_bytes(), &mut out);
    parser.finish(&mut out);
    assert_eq!(out.len(), before);
}

/// Pieces that stand beside each other joined, so that only the meaning is compared.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::Text(before)), Event::Text(piece))
            | (Some(Event::Thinking(before)), Event::Thinking(piece)) => before.push_str(&piece),
            (_, event) => out.push(event),
        }
    }
    out
}

fn cut(bytes: &[u8], at: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

const OLLAMA_STREAM: &str = concat!(
    r#"{"message":{"content":"<think>hm é"},"done":false}"#,
    "\n\n",
    r#"{"message":{"content":"</think>Text 😀"},"done":false}"#,
    "\r\n",
    r#"{"message":{"content":"","tool_calls":[{"id":"a","function":{"name":"run","arguments":{"argv":["ls","é"]}}}]},"done":false}"#,
    "\n",
    r#"{"done":true,"done_reason":"stop","eval_count":3}"#,
);

const OPENAI_STREAM: &str = concat!(
    ": hello\r\n\r\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"<think>hm é</th\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"ink>Text 😀\"}}]}\r\n\r\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"run\",\"arguments\":\"\"}}]}}]}\r\r",
    "data: {\"choices\":[{\"delta\":\ndata: {\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_stream_cut_at_every_byte_says_the_same() {
    let guards = Guards::default();
    for stream in [OLLAMA_STREAM, OPENAI_STREAM] {
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        let (one, whole) = if stream == OLLAMA_STREAM {
            (events(Ollama::new(&guards), &bytes), events(Ollama::new(&guards), &[stream.as_bytes()]))
        } else {
            (events(OpenAi::new(&guards), &bytes), events(OpenAi::new(&guards), &[stream.as_bytes()]))
        };
        let wanted = Turn::Complete {
            text: "Text 😀".into(),
            thinking: "hm é".into(),
            calls: vec![Call {
                id: "a".into(),
                name: "run".into(),
                arguments: if stream == OLLAMA_STREAM { r#"{"argv":["ls","é"]}"# } else { "{}" }.into(),
            }],
        };
        assert_eq!(turn(one.clone()), Ok(wanted));
        assert_eq!(joined(one), joined(whole));
    }
}

/// Bytes that look enough like a stream to get past the first check.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        any::<Vec<u8>>().boxed(),
        prop::sample::select(vec![
            "data: ", "data:", "\n", "\n\n", "\r\n", "\r", ": x\n", "[DONE]", "{", "}", "[", "]", "\"", ",", ":",
            "\"message\":", "\"content\":", "\"done\":true", "\"done_reason\":\"length\"", "\"tool_calls\":",
            "\"function\":", "\"name\":\"run\"", "\"arguments\":\"{\"", "\"index\":0", "\"id\":\"a\"",
            "\"choices\":[{\"delta\":", "\"finish_reason\":\"stop\"", "\"error\":\"x\"", "<think>", "</think>",
            "null", "1e999", "\\ud800", "é", OLLAMA_STREAM, OPENAI_STREAM,
        ])
        .prop_map(|text| text.as_bytes().to_vec())
        .boxed(),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_and_always_come_to_an_end(
        bytes in hostile(), at in prop::collection::vec(any::<prop::sample::Index>(), 0..20)
    ) {
        let guards = Guards { line: 300, arguments: 50, calls: 3, ..Guards::default() };
        let pieces = cut(&bytes, &at);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for out in [
            events(Ollama::new(&guards), &pieces),
            events(OpenAi::new(&guards), &pieces),
            events(Whole::new(&guards), &pieces),
        ] {
            let ends = out.iter().filter(|event| matches!(event, Event::Done(_) | Event::Error(_))).count();
            prop_assert_eq!(ends, 1);
            prop_assert!(matches!(out.last(), Some(Event::Done(_) | Event::Error(_))));
            let cut_off = !matches!(out.last(), Some(Event::Done(Reason::Stop)));
            let calls = out.iter().filter(|event| matches!(event, Event::ToolEnd { .. })).count();
            prop_assert!(!cut_off || calls == 0);
        }
    }

    #[test]
    fn the_way_of_cutting_makes_no_difference(
        bytes in hostile(), at in prop::collection::vec(any::<prop::sample::Index>(), 0..20)
    ) {
        let guards = Guards::default();
        let pieces = cut(&bytes, &at);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(
            joined(events(Ollama::new(&guards), &pieces)),
            joined(events(Ollama::new(&guards), &[&bytes]))
        );
        prop_assert_eq!(
            joined(events(OpenAi::new(&guards), &pieces)),
            joined(events(OpenAi::new(&guards), &[&bytes]))
        );
    }
}
