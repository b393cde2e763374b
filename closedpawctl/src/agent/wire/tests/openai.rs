//! OpenAI's chat completions and the ways of the servers that speak them.

use super::*;

#[test]
fn text_comes_in_pieces() {
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
fn done_may_be_missing_but_the_reason_may_not_be_too() {
    let half = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    assert_eq!(openai(&sse(&[half, STOP])), text("x"));
    assert_eq!(openai(sse(&[half, STOP]).trim_end()), text("x"), "nor the last empty line");
    assert_eq!(openai(&sse(&[half, "[DONE]"])), text("x"));
    assert_eq!(openai(&sse(&[half])), Err(WireError::CutOff));
    assert_eq!(openai(""), Err(WireError::CutOff));
}

#[test]
fn choices_may_be_empty_or_null() {
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
fn calls_come_in_fragments_or_whole() {
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
fn a_cut_turn_has_no_calls() {
    let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"argv\":[\"rm\"]}"}}]}}]}"#;
    for reason in ["length", "content_filter", "abort"] {
        let end = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        let stream = sse(&[call, &end, "[DONE]"]);
        assert!(matches!(openai(&stream), Ok(Turn::Truncated { .. })), "{reason}");
        let events = events(OpenAi::new(&Guards::default()), &[stream.as_bytes()]);
        assert!(!events.iter().any(|event| matches!(event, Event::ToolEnd { .. })));
    }
    assert_eq!(openai(&sse(&[call])), Err(WireError::CutOff));
    let stream = sse(&[call, STOP]);
    assert_eq!(openai(stream.get(..stream.len() - 10).unwrap()), Err(WireError::CutOff));
}

#[test]
fn an_error_inside_the_stream_ends_it() {
    let before = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    let error = r#"{"error":{"code":500,"message":"out of memory","type":"server_error"}}"#;
    assert_eq!(openai(&sse(&[before, error, STOP])), Err(WireError::Server("out of memory".into())));
}

#[test]
fn reasoning_has_many_names() {
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
fn other_choices_are_not_mixed_in() {
    let stream = sse(&[
        r#"{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}"#,
        STOP,
    ]);
    assert_eq!(openai(&stream), text("a"));
}

#[test]
fn nonsense_is_said_to_be_nonsense() {
    for data in ["hello", "{}", "[1]", "{\"choices\":5}", r#"{"choices":[{"delta":{"content":5}}]}"#] {
        assert!(matches!(openai(&sse(&[data, STOP])), Err(WireError::Nonsense(_))), "{data}");
    }
    assert_eq!(openai("<html></html>\n\n"), Err(WireError::CutOff));
}

#[test]
fn a_whole_response_is_understood() {
    let body = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let parser = || Whole::new(&Guards::default());
    assert_eq!(turn(events(parser(), &[body.as_bytes()])), text("x"));
    assert_eq!(turn(events(parser(), &[&body.as_bytes()[..50]])), Err(WireError::CutOff));
    let error = br#"{"error":{"message":"no"}}"#;
    assert_eq!(turn(events(parser(), &[error])), Err(WireError::Server("no".into())));
}
