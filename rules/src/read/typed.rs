//! Values of the type that is wanted, or the problem that they are not.
#![forbid(unsafe_code)]

use super::{Reader, Table, Value};
use crate::nearest::suggestion;
use crate::problem::{Code, show};
use crate::vocabulary::Word;
use std::ops::Range;
use toml::de::DeValue;

impl Reader<'_> {
    /// Names every key of a table that is not in the list.
    pub(crate) fn known_keys(&mut self, table: Table<'_, '_>, known: &[&'static str]) {
        for (key, _) in table.entries {
            if !known.contains(&key.get_ref().as_ref()) {
                let hint = suggestion(key.get_ref(), known.iter().copied());
                self.problem(
                    key.span(),
                    Code::UnknownKey,
                    format!("no such key: {}", show(key.get_ref())),
                    hint,
                );
            }
        }
    }

    /// A key that must be there.
    pub(crate) fn required<'t, 'v>(&mut self, table: Table<'t, 'v>, key: &str) -> Option<Value<'t, 'v>> {
        let value = table.get(key);
        if value.is_none() {
            self.problem(table.place(), Code::MissingKey, format!("`{key}` is missing"), None);
        }
        value
    }

    fn wrong_type(&mut self, value: Value<'_, '_>, wanted: &str) {
        let found = match value.tree.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(
            value.place(),
            Code::WrongType,
            format!("{wanted} is wanted here, this is {found}"),
            None,
        );
    }

    pub(crate) fn text<'t>(&mut self, value: Value<'t, '_>) -> Option<&'t str> {
        if let DeValue::String(text) = value.tree.get_ref() {
            return Some(text);
        }
        self.wrong_type(value, "text");
        None
    }

    pub(crate) fn boolean(&mut self, value: Value<'_, '_>) -> Option<bool> {
        if let DeValue::Boolean(yes) = value.tree.get_ref() {
            return Some(*yes);
        }
        self.wrong_type(value, "true or false");
        None
    }

    pub(crate) fn integer(&mut self, value: Value<'_, '_>) -> Option<i64> {
        if let DeValue::Integer(number) = value.tree.get_ref() {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            if parsed.is_none() {
                self.problem(value.place(), Code::OutOfRange, "the number is too large".into(), None);
            }
            return parsed;
        }
        self.wrong_type(value, "a number");
        None
    }

    /// A number within bounds.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self, value: Value<'_, '_>, bounds: Range<i64>) -> Option<T> {
        let number = self.integer(value)?;
        let fits = bounds.contains(&number).then(|| T::try_from(number).ok()).flatten();
        if fits.is_none() {
            let message = format!("{number} is not between {} and {}", bounds.start, bounds.end - 1);
            self.problem(value.place(), Code::OutOfRange, message, None);
        }
        fits
    }

    pub(crate) fn time<'t>(&mut self, value: Value<'t, '_>) -> Option<&'t toml::value::Datetime> {
        if let DeValue::Datetime(time) = value.tree.get_ref() {
            return Some(time);
        }
        self.wrong_type(value, "a time such as 2030-01-31T00:00:00Z, without quotes,");
        None
    }

    pub(crate) fn table<'t, 'v>(&mut self, value: Value<'t, 'v>) -> Option<Table<'t, 'v>> {
        if let Some(table) = value.as_table() {
            return Some(table);
        }
        self.wrong_type(value, "a table");
        None
    }

    /// A list that is not empty.
    pub(crate) fn list<'t, 'v>(&mut self, value: Value<'t, 'v>) -> Option<Vec<Value<'t, 'v>>> {
        let DeValue::Array(items) = value.tree.get_ref() else {
            self.wrong_type(value, "a list");
            return None;
        };
        if items.is_empty() {
            self.problem(value.place(), Code::MatchesNothing, "an empty list matches nothing".into(), None);
            return None;
        }
        Some(items.iter().map(|tree| Value { tree }).collect())
    }

    /// One value, or a list of them.
    pub(crate) fn one_or_many<'t, 'v>(&mut self, value: Value<'t, 'v>) -> Option<Vec<Value<'t, 'v>>> {
        if matches!(value.tree.get_ref(), DeValue::Array(_)) { self.list(value) } else { Some(vec![value]) }
    }

    /// One of a fixed list of words.
    pub(crate) fn word<W: Word>(&mut self, value: Value<'_, '_>, code: Code, what: &str) -> Option<W> {
        let text = self.text(value)?;
        let word = W::of(text);
        if word.is_none() {
            let hint = suggestion(text, W::all().map(W::word));
            self.problem(value.place(), code, format!("no such {what}: {}", show(text)), hint);
        }
        word
    }

    /// One word of a fixed list, or a list of them.
    pub(crate) fn words<W: Word>(&mut self, value: Value<'_, '_>, code: Code, what: &str) -> Option<Vec<W>> {
        let items = self.one_or_many(value)?;
        let words: Vec<W> = items.iter().filter_map(|item| self.word(*item, code, what)).collect();
        (words.len() == items.len()).then_some(words)
    }

    /// A size: bytes as a number, or text such as "1MiB".
    pub(crate) fn size(&mut self, value: Value<'_, '_>) -> Option<u64> {
        if matches!(value.tree.get_ref(), DeValue::Integer(_)) {
            return self.number(value, 1..i64::MAX);
        }
        let text = self.text(value)?;
        let size = parse_size(text);
        if size.is_none() {
            let hint = "a number of bytes, or with KiB, MiB, GiB, TiB".to_owned();
            self.problem(value.place(), Code::BadSize, format!("{} is no size", show(text)), Some(hint));
        }
        size
    }
}

/// `"64KiB"`: binary units only, so that nobody has to guess; more than nothing.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let number: u64 = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    number.checked_mul(1 << shift).filter(|size| *size > 0 && *size < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_positive() {
        assert_eq!(parse_size("1MiB"), Some(1 << 20));
        assert_eq!(parse_size("512B"), Some(512));
        for text in ["", "0B", "1", "1MB", "1 MiB", "-1B", "1.5MiB", "+1B", "99999999999TiB", "MiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
