//! The tree of a file, in which everything knows its place.
#![forbid(unsafe_code)]

use super::Place;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value in its place.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t, 'a> {
    pub(super) tree: &'t Spanned<DeValue<'a>>,
}

impl<'t, 'a> Value<'t, 'a> {
    pub(crate) fn place(self) -> Place {
        self.tree.span()
    }

    pub(crate) fn as_table(self) -> Option<Table<'t, 'a>> {
        let DeValue::Table(entries) = self.tree.get_ref() else { return None };
        Some(Table { entries, start: self.tree.span().start, end: self.tree.span().end })
    }

    pub(crate) fn as_bool(self) -> Option<bool> {
        let DeValue::Boolean(yes) = self.tree.get_ref() else { return None };
        Some(*yes)
    }

    pub(crate) fn as_text(self) -> Option<&'t str> {
        let DeValue::String(text) = self.tree.get_ref() else { return None };
        Some(text)
    }

    pub(crate) fn is_list(self) -> bool {
        matches!(self.tree.get_ref(), DeValue::Array(_))
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self.tree.get_ref(), DeValue::Integer(_))
    }
}

/// A table in its place.
#[derive(Clone, Copy)]
pub(crate) struct Table<'t, 'a> {
    pub(super) entries: &'t DeTable<'a>,
    start: usize,
    end: usize,
}

impl<'t, 'a> Table<'t, 'a> {
    pub(crate) fn root(tree: &'t Spanned<DeTable<'a>>) -> Self {
        Self { entries: tree.get_ref(), start: 0, end: 0 }
    }

    pub(crate) fn place(self) -> Place {
        self.start..self.end
    }

    pub(crate) fn get(self, key: &str) -> Option<Value<'t, 'a>> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key's place and its value.
    pub(crate) fn entry(self, key: &str) -> Option<(Place, Value<'t, 'a>)> {
        let (key, tree) = self.entries.get_key_value(key)?;
        Some((key.span(), Value { tree }))
    }

    /// Every key with its place and value.
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'t str, Place, Value<'t, 'a>)> {
        self.entries.iter().map(|(key, tree)| (key.get_ref().as_ref(), key.span(), Value { tree }))
    }
}
