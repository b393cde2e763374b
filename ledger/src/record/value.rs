//! What a record can say: named values in order.
#![forbid(unsafe_code)]

use super::escape::unescape;
use crate::head::decimal;
use crate::tree::lower_hex;

/// A record has at most this many fields.
pub const FIELDS_MAX: usize = 32;
/// A field's name has at most this many bytes.
pub(super) const NAME_MAX: usize = 32;

/// One value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A count, a size, a number of milliseconds.
    Number(u64),
    /// A text of any origin.
    Text(Text),
    /// Texts in order, such as the arguments of a program.
    List(Vec<Text>),
    /// Names and values in order, such as the summary of an action.
    Pairs(Vec<(Text, Text)>),
}

/// A text of any origin, whole or cut. It may hold anything: before it meets a terminal,
/// [`escape`](super::escape()) it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text {
    /// The text, or the beginning of it that was kept.
    pub start: String,
    /// What stood there before it was cut, if it was.
    pub cut: Option<Cut>,
}

/// What was cut: enough to recognise the whole when it is found elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// How long the whole was: bytes of a text, members of a list.
    pub len: u64,
    /// The BLAKE3 digest of the whole: of a text's bytes; of a list's texts, each after its length as
    /// eight bytes, big-endian.
    pub blake3: [u8; 32],
}

impl Text {
    /// Reads a text as it stands in a line, once JSON's own escapes are gone; `None` for what no record holds.
    pub(crate) fn from_line(written: &str) -> Option<Text> {
        let (start, rest) = unescape(written);
        if rest.is_empty() {
            return Some(Text { start, cut: None });
        }
        let (len, digest) = rest.strip_prefix("\\cut{")?.strip_suffix('}')?.split_once(',')?;
        Some(Text { start, cut: Some(Cut { len: decimal(len)?, blake3: lower_hex(digest)? }) })
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Text {
        Text { start: text.into(), cut: None }
    }
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(Text::from(text))
    }

    /// Bytes as lower-case hexadecimal: a digest, a key, a session's number.
    #[must_use]
    pub fn hex(bytes: &[u8]) -> Value {
        Value::text(hex::encode(bytes))
    }

    /// Texts in order.
    pub fn list<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
        Value::List(texts.into_iter().map(Text::from).collect())
    }

    /// Names and values in order.
    pub fn pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Value {
        Value::Pairs(pairs.into_iter().map(|(name, value)| (Text::from(name), Text::from(value))).collect())
    }
}

/// The fields of a record to be written, in order.
///
/// A name is lower-case letters, digits and `_`, at most 32 bytes, and none of `seq`, `time` and `kind`; any
/// other name becomes `unnamed`. A name set twice keeps its place and its last value. What comes after
/// [`FIELDS_MAX`] fields is left out, and the record says how many were (`fields_cut`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<(&'static str, Value)>,
    left_out: u64,
}

impl Fields {
    /// No field.
    #[must_use]
    pub fn new() -> Fields {
        Fields::default()
    }

    /// These fields and one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Fields {
        let name = if is_name(name) { name } else { "unnamed" };
        if let Some((_, old)) = self.fields.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
        } else if self.fields.len() < FIELDS_MAX {
            self.fields.push((name, value));
        } else {
            self.left_out += 1;
        }
        self
    }

    /// These fields and one more if there is a value for it.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<Value>) -> Fields {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    /// How many fields were left out for want of room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// Whether a field may have this name.
fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !matches!(name, "seq" | "time" | "kind" | "fields_cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_cannot_take_the_place_of_seq_time_or_kind() {
        for name in [
            "seq",
            "time",
            "kind",
            "fields_cut",
            "",
            "Big",
            "a\"b",
            "a b",
            "ä",
            "a123456789012345678901234567890123",
        ] {
            let fields = Fields::new().with(name, Value::Bool(true));
            assert_eq!(fields.iter().collect::<Vec<_>>(), [("unnamed", &Value::Bool(true))], "{name}");
        }
    }

    #[test]
    fn a_name_set_twice_keeps_its_last_value() {
        let fields =
            Fields::new().with("a", Value::Number(1)).with("b", Value::Number(2)).with("a", Value::Number(3));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("a", &Value::Number(3)), ("b", &Value::Number(2))]);
    }

    #[test]
    fn only_the_writer_can_mark_a_cut() {
        let digest = "00".repeat(32);
        let cut = Some(Cut { len: 7, blake3: [0; 32] });
        assert_eq!(
            Text::from_line(&format!("ab\\cut{{7,{digest}}}")),
            Some(Text { start: "ab".into(), cut })
        );
        assert_eq!(Text::from_line(&format!("ab\\\\cut{{7,{digest}}}")).and_then(|text| text.cut), None);
        for bad in ["\\cut{07,00}", "\\cut{7}", "\\cut", "\\x", "\\u{zz}"] {
            assert_eq!(Text::from_line(bad), None, "{bad}");
        }
    }
}
