//! One line on its own: is it a record, and which?
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::Why;
use crate::head::{SignedHead, decimal};
use crate::record::{FIELDS_MAX, LINE_MAX, is_unsafe, parse_rfc3339};

/// What every record begins with.
pub(crate) struct Prefix<'a> {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) kind: &'a str,
    /// What follows: `}` or `,"name":…}`.
    pub(crate) rest: &'a str,
}

/// Reads `{"seq":N,"time":"…","kind":"…"` in its one spelling.
pub(crate) fn prefix(line: &str) -> Result<Prefix<'_>, Why> {
    read_prefix(line).ok_or(Why::NotARecord)
}

fn read_prefix(line: &str) -> Option<Prefix<'_>> {
    let (seq, rest) = line.strip_prefix("{\"seq\":")?.split_once(',')?;
    let (time, rest) = rest.strip_prefix("\"time\":\"")?.split_once('"')?;
    let (kind, rest) = rest.strip_prefix(",\"kind\":\"")?.split_once('"')?;
    let known_shape =
        (1..=32).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if !known_shape || !rest.starts_with([',', '}']) {
        return None;
    }
    Some(Prefix { seq: decimal(seq)?, time_ms: parse_rfc3339(time)?, kind, rest })
}

/// Checks everything that can be said of a line alone.
pub(super) fn check(line: &[u8]) -> Result<Prefix<'_>, Why> {
    if line.len() > LINE_MAX {
        return Err(Why::TooLong);
    }
    // Without a branch a byte, which the compiler turns into vector code.
    if line.iter().fold(false, |bad, &b| bad | (b < 0x20) | (b == 0x7f)) {
        return Err(Why::Unescaped);
    }
    let text = std::str::from_utf8(line).map_err(|_| Why::NotUtf8)?;
    if !text.is_ascii() && text.chars().any(is_unsafe) {
        return Err(Why::Unescaped);
    }
    let prefix = prefix(text)?;
    serde_json::from_str::<Names>(text).map_err(|_| Why::NotARecord)?;
    Ok(prefix)
}

/// The head that a `head` record carries as its first field.
pub(super) fn embedded_head(rest: &str) -> Result<SignedHead, Why> {
    let text = rest.strip_prefix(",\"head\":\"").and_then(|text| text.split_once('"')).ok_or(Why::BadHead)?.0;
    text.parse().map_err(|_| Why::BadHead)
}

/// A JSON object of at most `3 + FIELDS_MAX + 1` members, each name once and free of escapes. Two members of
/// one name would be read as one by some and as the other by others.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Names, D::Error> {
        from.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = [""; 3 + FIELDS_MAX + 1];
        let mut known = 0;
        while let Some(name) = map.next_key::<&'de str>()? {
            if names.iter().take(known).any(|other| *other == name) {
                return Err(A::Error::custom("a name twice"));
            }
            *names.get_mut(known).ok_or_else(|| A::Error::custom("too many fields"))? = name;
            known += 1;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Names)
    }
}
