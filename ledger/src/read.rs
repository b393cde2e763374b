//! Records for people.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::record::{LINE_MAX, Text, Value, escape, rfc3339};
use crate::verify::{Why, prefix};

/// A record as it stands in a log, of a kind that may be newer than this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRecord {
    /// Its place in the log.
    pub seq: u64,
    /// Its time in milliseconds since 1970.
    pub time_ms: u64,
    /// What happened: see [`Kind::from_name`](crate::record::Kind::from_name).
    pub kind: String,
    /// What it says, in order.
    pub fields: Vec<(String, Value)>,
}

impl ParsedRecord {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Reads one line, without its line feed.
///
/// # Errors
/// [`Why`] the line is no record. What it says is not checked against the rest of the log; see
/// [`verify`](crate::verify).
pub fn parse(line: &[u8]) -> Result<ParsedRecord, Why> {
    if line.len() > LINE_MAX {
        return Err(Why::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| Why::NotUtf8)?;
    let found = prefix(line)?;
    let Body(fields) = serde_json::from_str(line).map_err(|_| Why::NotARecord)?;
    Ok(ParsedRecord { seq: found.seq, time_ms: found.time_ms, kind: found.kind.to_owned(), fields })
}

/// Shows a record on one line that is safe on a terminal, whatever was logged.
#[must_use]
pub fn render(record: &ParsedRecord) -> String {
    let time = rfc3339(record.time_ms).replace('T', " ");
    let mut line = format!("{} {time} {}", record.seq, escape(&record.kind));
    for (name, value) in &record.fields {
        line.push(' ');
        line.push_str(&escape(name));
        line.push('=');
        show(&mut line, value);
    }
    line
}

/// Shows any line of a log: the record it is, or, escaped, what stands there instead of one.
#[must_use]
pub fn render_line(line: &[u8]) -> String {
    match parse(line) {
        Ok(record) => render(&record),
        Err(why) => format!("not a record ({why}): {}", escape(&String::from_utf8_lossy(line))),
    }
}

fn show(line: &mut String, value: &Value) {
    match value {
        Value::Bool(yes) => line.push_str(if *yes { "yes" } else { "no" }),
        Value::Number(number) => line.push_str(&number.to_string()),
        Value::Text(text) => show_text(line, text),
        Value::List(texts) => show_all(line, texts, show_text),
        Value::Pairs(pairs) => show_all(line, pairs, |line, (name, value)| {
            show_text(line, name);
            line.push('=');
            show_text(line, value);
        }),
    }
}

fn show_all<T>(line: &mut String, members: &[T], show: impl Fn(&mut String, &T)) {
    line.push('[');
    for (at, member) in members.iter().enumerate() {
        if at > 0 {
            line.push(' ');
        }
        show(line, member);
    }
    line.push(']');
}

/// A plain word stands bare; anything else is quoted, so that no text can look like two fields.
fn show_text(line: &mut String, text: &Text) {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b':' | b'@' | b'+');
    if text.cut.is_none() && !text.start.is_empty() && text.start.bytes().all(plain) {
        line.push_str(&text.start);
        return;
    }
    line.push('"');
    line.push_str(&escape(&text.start).replace('"', "\\\""));
    line.push('"');
    if let Some(cut) = text.cut {
        line.push_str(&format!("…(cut, {} in all)", cut.len));
    }
}

/// The fields after `seq`, `time` and `kind`, each name once.
struct Body(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Body, D::Error> {
        from.deserialize_map(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        while let Some((name, value)) = map.next_entry()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom("a name twice"));
            }
            fields.push((name, value));
        }
        fields.drain(..fields.len().min(3)); // `seq`, `time` and `kind`: `prefix` has read them
        Ok(Body(fields))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        let written = String::deserialize(from)?;
        Text::from_line(&written).ok_or_else(|| D::Error::custom("an escape no record has"))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a record")
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Value, E> {
        Ok(Value::Bool(yes))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E: serde::de::Error>(self, written: &str) -> Result<Value, E> {
        Text::from_line(written).map(Value::Text).ok_or_else(|| E::custom("an escape no record has"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let (mut texts, mut pairs) = (Vec::new(), Vec::new());
        while let Some(member) = list.next_element::<Member>()? {
            match member {
                Member::Text(text) => texts.push(text),
                Member::Pair(name, value) => pairs.push((name, value)),
            }
        }
        match (texts.is_empty(), pairs.is_empty()) {
            (_, true) => Ok(Value::List(texts)),
            (true, false) => Ok(Value::Pairs(pairs)),
            (false, false) => Err(A::Error::custom("texts and pairs in one list")),
        }
    }
}

/// A member of a list.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Member {
    Text(Text),
    Pair(Text, Text),
}
