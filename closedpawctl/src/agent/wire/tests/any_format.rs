//! What holds for every format.

use proptest::prelude::*;

use super::*;

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
    let line = format!(
        r#"{{"message":{{"tool_calls":[{{"function":{{"name":"run","arguments":{deep}}}}}]}},"done":false}}"#
    );
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
            "data: ",
            "data:",
            "\n",
            "\n\n",
            "\r\n",
            "\r",
            ": x\n",
            "[DONE]",
            "{",
            "}",
            "[",
            "]",
            "\"",
            ",",
            ":",
            "\"message\":",
            "\"content\":",
            "\"done\":true",
            "\"done_reason\":\"length\"",
            "\"tool_calls\":",
            "\"function\":",
            "\"name\":\"run\"",
            "\"arguments\":\"{\"",
            "\"index\":0",
            "\"id\":\"a\"",
            "\"choices\":[{\"delta\":",
            "\"finish_reason\":\"stop\"",
            "\"error\":\"x\"",
            "<think>",
            "</think>",
            "null",
            "1e999",
            "\\ud800",
            "é",
            OLLAMA_STREAM,
            OPENAI_STREAM,
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
