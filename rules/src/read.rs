//! From text to a tree in which everything knows its place, collecting every problem instead of stopping at the first.
#![forbid(unsafe_code)]

mod tree;
mod typed;

use crate::problem::{Code, Problem, SourceFile};
use std::ops::Range;
use toml::Spanned;
use toml::de::DeTable;
pub(crate) use tree::{Table, Value};

/// The longest file that is read, in bytes.
pub const MAX_FILE: usize = 256 * 1024;

/// The most problems that are listed for one file.
const MAX_PROBLEMS: usize = 100;

/// The only version of the files.
pub(crate) const VERSION: i64 = 1;

/// Where something stands, in bytes.
pub(crate) type Place = Range<usize>;

/// One file while it is read.
pub(crate) struct Reader<'a> {
    file: SourceFile<'a>,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: SourceFile<'a>) -> Self {
        let breaks = file.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self {
            file,
            line_starts: std::iter::once(0).chain(breaks).collect(),
            problems: vec![],
            warnings: vec![],
        }
    }

    /// The whole file's tree and nothing else; `None` if it is too big or no TOML.
    ///
    /// What is recovered from broken TOML is not looked at: its problems would be about things nobody wrote.
    pub(crate) fn document(&mut self) -> Option<Spanned<DeTable<'a>>> {
        if self.file.text.len() > MAX_FILE {
            let message = format!("{} bytes; at most {MAX_FILE} are read", self.file.text.len());
            self.problem(0..0, Code::FileTooBig, message, Some("split the file".into()));
            return None;
        }
        let (tree, errors) = DeTable::parse_recoverable(self.file.text);
        if errors.is_empty() {
            return Some(tree);
        }
        for error in errors {
            let place = error.span().unwrap_or_default();
            let hint = self.syntax_hint(&place);
            self.problem(place, Code::Syntax, error.message().replace('\n', "; "), hint);
        }
        None
    }

    fn syntax_hint(&self, place: &Place) -> Option<String> {
        let line_start = self.file.text.get(..place.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = self.file.text.get(line_start..)?.lines().next()?;
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let value = value.trim();
        if value.starts_with(|c: char| c.is_ascii_alphabetic()) && !matches!(value, "true" | "false") {
            return Some(format!("text needs quotes: {} = \"…\"", key.trim()));
        }
        if line.contains('\\') && line.contains('"') {
            return Some("in \"…\" a backslash begins an escape; write '…' for text as it stands".into());
        }
        if line.trim_start().starts_with('[') {
            return Some("a table is begun by [[rule]], [[profile]] or [[case]]".into());
        }
        (!line.contains('=') && !line.trim().is_empty()).then(|| "every line reads: key = value".into())
    }

    /// Checks the obligatory `version = 1`.
    pub(crate) fn version(&mut self, table: Table<'_, '_>) {
        let Some(version) = table.get("version") else {
            let hint = format!("begin the file with: version = {VERSION}");
            return self.problem(0..0, Code::VersionMissing, "the file names no version".into(), Some(hint));
        };
        let Some(number) = self.integer(version) else { return };
        if number != VERSION {
            let message = format!("version {number} is not known here");
            self.problem(
                version.place(),
                Code::VersionUnknown,
                message,
                Some(format!("write version = {VERSION}")),
            );
        }
    }

    /// Records an error.
    pub(crate) fn problem(&mut self, place: Place, code: Code, message: String, hint: Option<String>) {
        match self.problems.len() {
            0..MAX_PROBLEMS => {
                let problem = self.at(place, code, message, hint);
                self.problems.push(problem);
            }
            MAX_PROBLEMS => {
                let problem =
                    self.at(place, Code::TooManyProblems, "further problems are not listed".into(), None);
                self.problems.push(problem);
            }
            _ => {}
        }
    }

    /// Records a warning: the file is used all the same.
    pub(crate) fn warn(&mut self, place: Place, code: Code, message: String, hint: Option<String>) {
        if self.warnings.len() < MAX_PROBLEMS {
            let warning = self.at(place, code, message, hint);
            self.warnings.push(warning);
        }
    }

    /// A problem at a place of this file.
    pub(crate) fn at(&self, place: Place, code: Code, message: String, hint: Option<String>) -> Problem {
        let (line, column) = self.position(place.start);
        Problem { code, file: self.file.name.to_owned(), line, column, message, hint }
    }

    fn position(&self, at: usize) -> (u32, u32) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.file.text.get(start..at).map_or(0, |text| text.chars().count()) + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    pub(crate) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The errors and the warnings.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems, self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let reader = Reader::new(SourceFile { name: "x", text: "a\näö = 1\n" });
        assert_eq!(reader.position(0), (1, 1));
        assert_eq!(reader.position(6), (2, 3));
        assert_eq!(reader.position(999), (3, 1));
    }

    #[test]
    fn every_syntax_error_is_named() {
        let mut reader = Reader::new(SourceFile { name: "x", text: "a = yes\nb = 1\nb = 2\n" });
        assert!(reader.document().is_none());
        let (problems, _) = reader.finish();
        let found: Vec<_> = problems.iter().map(|p| (p.code, p.line)).collect();
        assert_eq!(found, [(Code::Syntax, 1), (Code::Syntax, 3)]);
        assert_eq!(problems[0].hint.as_deref(), Some("text needs quotes: a = \"…\""));
    }
}
