//! Every pitfall of the formats, and the two properties of all parsers: hostile bytes do no harm, and the way a
//! stream is cut makes no difference.

mod any_format;
mod ollama;
mod openai;

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
