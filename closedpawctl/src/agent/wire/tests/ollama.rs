//! Ollama's own format and its pitfalls.

use super::*;

#[test]
fn text_comes_in_pieces_and_ends_with_done() {
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
fn calls_are_told_by_their_presence_not_by_the_reason() {
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
fn arguments_may_be_missing_null_or_a_string() {
    let stream = concat!(
        r#"{"message":{"tool_calls":[{"function":{"name":"a"}},{"function":{"name":"b","arguments":null}},{"function":{"name":"c","arguments":"{\"x\":1}"}}]},"done":false}"#,
        "\n",
        r#"{"done":true}"#,
    );
    assert_eq!(ollama(stream), calls(&[("", "a", "{}"), ("", "b", "{}"), ("", "c", r#"{"x":1}"#)]));
}

#[test]
fn an_error_line_ends_the_stream_whatever_came_before() {
    let before = r#"{"message":{"content":"half"},"done":false}"#;
    for (line, words) in
        [(r#"{"error":"out of memory"}"#, "out of memory"), (r#"{"error":{"message":"m","code":5}}"#, "m")]
    {
        let stream = format!("{before}\n{line}\n{before}\n{{\"done\":true}}\n");
        assert_eq!(ollama(&stream), Err(WireError::Server(words.into())));
    }
}

#[test]
fn a_cut_turn_has_no_calls() {
    let call = r#"{"message":{"tool_calls":[{"function":{"name":"run","arguments":{"argv":["rm"]}}}]},"done":false}"#;
    for reason in ["length", "load", "unload", "something new"] {
        let stream = format!("{call}\n{{\"done\":true,\"done_reason\":\"{reason}\"}}\n");
        assert!(matches!(ollama(&stream), Ok(Turn::Truncated { .. })), "{reason}");
        let events = events(Ollama::new(&Guards::default()), &[stream.as_bytes()]);
        assert!(!events.iter().any(|event| matches!(event, Event::ToolEnd { .. })));
    }
    assert_eq!(ollama(call), Err(WireError::CutOff), "the connection closed before the end");
    assert_eq!(ollama(call.get(..60).unwrap()), Err(WireError::CutOff), "or in the middle of a line");
}

#[test]
fn thinking_is_apart_in_both_its_forms() {
    let field =
        r#"{"message":{"thinking":"hm","content":"a"},"done":false}"#.to_owned() + "\n{\"done\":true}";
    let inline = r#"{"message":{"content":"<think>h"},"done":false}"#.to_owned()
        + "\n"
        + r#"{"message":{"content":"m</think>a"},"done":true}"#;
    let wanted = Ok(Turn::Complete { text: "a".into(), thinking: "hm".into(), calls: Vec::new() });
    assert_eq!(ollama(&field), wanted);
    assert_eq!(ollama(&inline), wanted);
}

#[test]
fn nonsense_is_said_to_be_nonsense() {
    for stream in
        ["hello\n", "{}\n", "{\"status\":\"success\"}\n", "[1]\n", "\"x\"\n", "{\"done\":\"yes\"}\n"]
    {
        assert!(matches!(ollama(stream), Err(WireError::Nonsense(_))), "{stream}");
    }
    assert_eq!(ollama(""), Err(WireError::CutOff));
}
