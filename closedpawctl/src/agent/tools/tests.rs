//! What is a call, and what is not.

use super::*;

fn parse(name: &str, arguments: &str) -> Result<ToolCall, BadCall> {
    ToolCall::parse(name, arguments)
}

#[test]
fn each_tool_parses_its_own_example() {
    for tool in Tool::ALL {
        assert_eq!(parse(tool.name(), tool.example()).unwrap().tool(), tool);
    }
}

#[test]
fn schemas_are_json_and_name_the_fields_that_parse() {
    for tool in Tool::ALL {
        let schema: serde_json::Value = serde_json::from_str(tool.schema()).unwrap();
        let example: serde_json::Value = serde_json::from_str(tool.example()).unwrap();
        let wanted = schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>();
        assert_eq!(wanted, example.as_object().unwrap().keys().collect::<Vec<_>>());
    }
}

#[test]
fn an_unknown_tool_is_refused_and_its_name_is_cut_and_quoted() {
    let error = parse(&"x\n".repeat(1000), "{}").unwrap_err();
    assert!(matches!(&error, BadCall::UnknownTool { name } if name.len() < 200 && !name.contains('\n')));
    assert!(parse("Run", "{}").is_err(), "names are exact");
}

#[test]
fn unknown_missing_and_doubled_fields_are_refused() {
    for arguments in [
        r#"{"argv":["ls"],"cwd":"/"}"#,
        r#"{}"#,
        r#"{"argv":["ls"],"argv":["rm"]}"#,
        r#"{"argv":"ls -l"}"#,
        r#"{"argv":[1]}"#,
        r#"{"argv":["ls"]} {"argv":["rm"]}"#,
        r#"{"argv":["ls"]}x"#,
        r#"[["ls"]]"#,
        "null",
    ] {
        assert!(matches!(parse("run", arguments), Err(BadCall::Shape { .. })), "{arguments}");
    }
}

#[test]
fn commands_keep_their_limits() {
    let run = |argv: Vec<String>| parse("run", &serde_json::json!({ "argv": argv }).to_string());
    assert_eq!(run(vec![]), Err(BadCall::NoProgram));
    assert_eq!(run(vec![String::new(), "x".into()]), Err(BadCall::NoProgram));
    assert!(run(vec!["x".into(); 64]).is_ok());
    assert_eq!(run(vec!["x".into(); 65]), Err(BadCall::TooManyWords));
    assert!(run(vec!["x".repeat(32 << 10)]).is_ok());
    assert_eq!(run(vec!["x".repeat(32 << 10), "y".into()]), Err(BadCall::CommandTooLong));
    assert_eq!(run(vec!["a\0b".into()]), Err(BadCall::Nul));
}

#[test]
fn paths_stay_in_the_workspace() {
    let read = |path: &str| parse("read_file", &serde_json::json!({ "path": path }).to_string());
    for path in ["/etc/passwd", "..", "a/../../b", "../x", "//x"] {
        assert_eq!(read(path), Err(BadCall::NotInside), "{path}");
    }
    assert_eq!(read("a\0"), Err(BadCall::Nul));
    assert_eq!(read(&"a".repeat(4097)), Err(BadCall::PathTooLong));
    assert_eq!(WorkspacePath::new("./a//b/").unwrap().as_str(), "a/b");
    assert_eq!(WorkspacePath::new("..a/b..").unwrap().as_str(), "..a/b..");
    assert_eq!(WorkspacePath::new("").unwrap().as_str(), ".");
}

#[test]
fn a_listing_without_arguments_is_of_the_workspace() {
    let here = ToolCall::ListFiles { path: WorkspacePath::new(".").unwrap() };
    for arguments in ["", " ", "{}", r#"{"path":"."}"#, r#"{"path":""}"#, r#"{"path":null}"#] {
        assert_eq!(parse("list_files", arguments), Ok(here.clone()), "{arguments}");
    }
}

#[test]
fn content_keeps_its_limit() {
    let write = |content: String| {
        parse("write_file", &serde_json::json!({ "path": "a", "content": content }).to_string())
    };
    assert!(write("x".repeat(256 << 10)).is_ok());
    assert_eq!(write("x".repeat((256 << 10) + 1)), Err(BadCall::ContentTooLarge));
}

#[test]
fn a_call_is_described_on_one_line() {
    let call = parse("run", r#"{"argv":["echo","a\nb"]}"#).unwrap();
    assert_eq!(call.to_string(), r#"run "echo" "a\nb""#);
}
