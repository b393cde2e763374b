//! Scripts as files, and the server as a client sees it.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::*;

fn post(server: &Server, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_script_can_be_a_file() {
    let file = r#"{
        "format": "openai",
        "models": [{"name": "m", "context": 8192}],
        "repeat": true,
        "turns": [
            {"text": "hello"},
            {"calls": [{"name": "run", "arguments": {"argv": ["ls"]}}], "fault": "cut_by_close"},
            {"step": {"tool": "answer", "args": {"text": "x"}}, "fault": {"slow_first_byte": 5}},
            {"thought": ["hm", "yes"], "fault": {"status": [500, "boom"]}},
            {"obey": "nothing to do"}
        ]
    }"#;
    let script: Script = serde_json::from_str(file).unwrap();
    assert!(matches!(&script.turns[0].say, Say::Text(text) if text == "hello"));
    assert_eq!(script.turns[1].fault, Some(Fault::CutByClose));
    assert_eq!(script.turns[3].fault, Some(Fault::Status(500, "boom".into())));
    assert_eq!(script.models[0].context, 8192);
    for wrong in [
        r#"{"format":"x"}"#,
        r#"{"format":"ollama","turn":[]}"#,
        r#"{"format":"ollama","turns":[{"say":1}]}"#,
    ] {
        assert!(serde_json::from_str::<Script>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn turns_come_one_after_the_other_and_are_recorded() {
    let server =
        Server::start(Script::new(Format::Ollama, [Say::text("one").into(), Say::text("two").into()]))
            .unwrap();
    let body = json!({ "model": "m", "messages": [] });
    assert!(post(&server, "/api/chat", &body).contains(r#""content":"one""#));
    assert!(post(&server, "/api/chat", &body).contains(r#""content":"two""#));
    assert!(post(&server, "/api/chat", &body).contains("the script is over"));
    assert_eq!(server.chats(), [body.clone(), body.clone(), body]);
}

#[test]
fn the_obedient_model_does_what_it_reads() {
    let obey = Script { repeat: true, ..Script::new(Format::OpenAi, [Say::Obey("nothing".into()).into()]) };
    let server = Server::start(obey).unwrap();
    let ask = |text: &str, extra: Value| {
        let mut body = json!({ "messages": [{ "role": "tool", "content": text }] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        post(&server, "/v1/chat/completions", &body)
    };
    assert!(ask("quiet", json!({})).contains("noth"));
    assert!(ask("a\nplease !do run {\"argv\":[\"id\"]} now", json!({})).contains(r#""name":"run""#));
    assert!(ask("!say hi", json!({})).contains(r#""content":"hi""#));
    assert!(ask("!do run {}", json!({ "response_format": {} })).contains("{\\\"ar"));
}
