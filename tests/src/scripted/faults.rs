//! Sending an answer, whole or broken.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Connection};
use super::script::{Fault, Format, Say};
use super::{ollama, openai};

/// What never ends ends here all the same, should a client take everything.
const ENDLESS: usize = 1 << 30;
const BLOCK: usize = 64 << 10;

/// Sends what is said in the format, and breaks it as the fault says.
pub(super) fn answer(
    to: &mut Connection,
    format: Format,
    model: &str,
    say: &Say,
    fault: Option<&Fault>,
) -> io::Result<()> {
    let say = match fault {
        Some(Fault::HugeArguments(bytes)) => &padded(say, *bytes),
        _ => say,
    };
    let by_length = fault == Some(&Fault::CutByLength);
    let (frames, error_frame, kind) = match format {
        Format::Ollama => (
            ollama::frames(model, say, by_length),
            ollama::error_frame as fn(&str) -> String,
            "application/x-ndjson",
        ),
        Format::OpenAi => (
            openai::frames(model, say, by_length),
            openai::error_frame as fn(&str) -> String,
            "text/event-stream",
        ),
    };
    let Some(fault) = fault else { return send(to, kind, &frames) };
    if before_the_head(to, fault)? {
        return Ok(());
    }
    let kind = if let Fault::ContentType(other) = fault { other } else { kind };
    let (first, rest) = halves(&frames);
    match fault {
        Fault::Stall => {
            http::begin(to, kind)?;
            http::chunk(to, &first)?;
            to.wait_for_hang_up(None);
            Ok(())
        }
        Fault::ByteByByte => {
            http::begin(to, kind)?;
            for byte in frames.concat().as_bytes().chunks(1) {
                http::chunk(to, byte)?;
            }
            http::end(to)
        }
        Fault::Garbage => with_middle(to, kind, &frames, &garbage(format)),
        Fault::ErrorMidStream(words) => with_middle(to, kind, &frames, &error_frame(words)),
        Fault::EndlessLine => {
            http::begin(to, kind)?;
            http::chunk(to, first_frame(&frames))?;
            http::chunk(to, b"data: ")?;
            endless(to, &[b'x'; BLOCK])
        }
        Fault::EndlessStream => {
            http::begin(to, kind)?;
            endless(to, &first_frame(&frames).repeat(BLOCK / first_frame(&frames).len().max(1)))
        }
        Fault::CutByClose => {
            http::begin(to, kind)?;
            http::chunk(to, &first)
        }
        Fault::CutByEnd => {
            http::begin(to, kind)?;
            http::chunk(to, &first)?;
            http::end(to)
        }
        Fault::NoDone => {
            let without = frames.split_last().map_or(&[][..], |(_, rest)| rest);
            send(to, kind, without)
        }
        Fault::SlowFirstByte(_)
        | Fault::Status(..)
        | Fault::CutByLength
        | Fault::HugeArguments(_)
        | Fault::ContentType(_)
        | Fault::HangUp
        | Fault::NotHttp
        | Fault::Impostor => {
            http::begin(to, kind)?;
            http::chunk(to, &first)?;
            http::chunk(to, &rest)?;
            http::end(to)
        }
    }
}

/// A document under a fault; true if it was sent, or something in its place.
pub(super) fn before_the_head(to: &mut Connection, fault: &Fault) -> io::Result<bool> {
    match fault {
        Fault::SlowFirstByte(milliseconds) => {
            to.wait_for_hang_up(Some(Duration::from_millis(*milliseconds)));
            return Ok(false);
        }
        Fault::Status(status, words) => {
            http::document(to, *status, "application/json", &json!({ "error": words }).to_string())?;
        }
        Fault::HangUp => {}
        Fault::NotHttp => to.write_all(b"SSH-2.0-OpenSSH_9.9\r\n")?,
        Fault::Impostor => http::document(to, 200, "text/html", "<html><body>It works!</body></html>")?,
        Fault::Stall
        | Fault::ByteByByte
        | Fault::Garbage
        | Fault::EndlessLine
        | Fault::EndlessStream
        | Fault::ErrorMidStream(_)
        | Fault::CutByClose
        | Fault::CutByEnd
        | Fault::CutByLength
        | Fault::HugeArguments(_)
        | Fault::NoDone
        | Fault::ContentType(_) => return Ok(false),
    }
    Ok(true)
}

/// A text in pieces, as a model would say it.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(|piece| piece.iter().collect()).collect::<Vec<String>>().into_iter()
}

fn send(to: &mut Connection, kind: &str, frames: &[String]) -> io::Result<()> {
    http::begin(to, kind)?;
    for frame in frames {
        http::chunk(to, frame.as_bytes())?;
    }
    http::end(to)
}

/// The bytes, cut in the middle of a frame.
fn halves(frames: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut all = frames.concat().into_bytes();
    let last = frames.last().map_or(0, String::len);
    let at = (all.len() - last) / 2;
    let at = if all.get(at.wrapping_sub(1)) == Some(&b'\n') { at + 3 } else { at };
    let rest = all.split_off(at.min(all.len()));
    (all, rest)
}

fn first_frame(frames: &[String]) -> &[u8] {
    frames.first().map_or(&[], |frame| frame.as_bytes())
}

fn with_middle(to: &mut Connection, kind: &str, frames: &[String], middle: &str) -> io::Result<()> {
    let (before, after) = frames.split_at(frames.len() / 2);
    let all: Vec<String> = [before, &[middle.to_owned()], after].concat();
    send(to, kind, &all)
}

fn garbage(format: Format) -> String {
    match format {
        Format::Ollama => "this is not {json\n".to_owned(),
        Format::OpenAi => "data: this is not {json\n\n".to_owned(),
    }
}

fn endless(to: &mut Connection, block: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < ENDLESS {
        http::chunk(to, block)?;
        sent += block.len();
    }
    Ok(())
}

fn padded(say: &Say, bytes: usize) -> Say {
    let Say::Calls(calls) = say else { return say.clone() };
    let mut calls = calls.clone();
    for call in &mut calls {
        if let Value::Object(arguments) = &mut call.arguments {
            arguments.insert("padding".into(), json!("x".repeat(bytes)));
        }
    }
    Say::Calls(calls)
}
