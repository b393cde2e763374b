//! What is sent is what the formats say.

use serde_json::{Value, json};

use super::*;

fn messages() -> Vec<Message> {
    vec![
        Message::System("rules".into()),
        Message::User("how many?".into()),
        Message::Assistant {
            text: String::new(),
            thinking: "hm".into(),
            calls: vec![CallRecord {
                id: "call_1".into(),
                name: "run".into(),
                arguments: JsonObject::or_empty(r#"{"argv":["ls"]}"#),
            }],
        },
        Message::Tool { id: "call_1".into(), name: "run".into(), text: "a.txt".into() },
    ]
}

fn chat<'a>(messages: &'a [Message], form: Form<'a>) -> Chat<'a> {
    Chat { model: "m", messages, form, context: 8192, answer_tokens: 100 }
}

fn parsed(body: Result<String, serde_json::Error>) -> Value {
    serde_json::from_str(&body.unwrap()).unwrap()
}

#[test]
fn ollama_gets_arguments_as_an_object_and_never_cuts_the_prompt() {
    let messages = messages();
    let body = parsed(chat(&messages, Form::Tools(&Tool::ALL)).ollama());
    assert_eq!(body["truncate"], json!(false));
    assert_eq!(body["options"]["num_ctx"], json!(8192));
    let call = &body["messages"][2]["tool_calls"][0];
    assert_eq!(
        *call,
        json!({"id": "call_1", "function": {"index": 0, "name": "run", "arguments": {"argv": ["ls"]}}})
    );
    assert_eq!(body["messages"][2]["thinking"], json!("hm"));
    assert_eq!(
        body["messages"][3],
        json!({"role": "tool", "tool_name": "run", "tool_call_id": "call_1", "content": "a.txt"})
    );
    assert_eq!(body["tools"].as_array().unwrap().len(), 4);
    assert!(body.get("format").is_none());
}

#[test]
fn openai_gets_arguments_as_text_and_null_beside_calls() {
    let messages = messages();
    let body = parsed(chat(&messages, Form::Tools(&Tool::ALL)).openai());
    assert_eq!(
        body["messages"][2],
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "run", "arguments": "{\"argv\":[\"ls\"]}"}}]})
    );
    assert_eq!(body["messages"][3], json!({"role": "tool", "tool_call_id": "call_1", "content": "a.txt"}));
    assert_eq!(body["stream_options"]["include_usage"], json!(true));
    assert!(body.get("response_format").is_none());
}

#[test]
fn a_schema_goes_without_tools_and_keeps_its_order() {
    let schema = r#"{"properties":{"tool":{},"args":{}}}"#;
    let messages = messages();
    let openai = chat(&messages, Form::Schema(schema)).openai().unwrap();
    let ollama = chat(&messages, Form::Schema(schema)).ollama().unwrap();
    assert!(openai.contains(schema) && ollama.contains(schema));
    assert!(!openai.contains("\"tools\"") && !ollama.contains("\"tools\""));
}

#[test]
fn what_is_told_back_is_always_an_object() {
    for text in ["", "nonsense", "[1]", "{\"a\":", "\"x\"", "null"] {
        let record = CallRecord { id: "i".into(), name: "n".into(), arguments: JsonObject::or_empty(text) };
        let message =
            [Message::Assistant { text: String::new(), thinking: String::new(), calls: vec![record] }];
        let body = parsed(chat(&message, Form::Text).ollama());
        assert!(body["messages"][0]["tool_calls"][0]["function"]["arguments"].is_object(), "{text}");
    }
}
