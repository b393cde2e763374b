//! Two texts as a person reads the difference: lines with a sign, in hunks.
#![forbid(unsafe_code)]

use similar::{ChangeTag, TextDiff};
use std::time::Duration;

/// The longest text that is compared line by line.
pub const LONGEST: u64 = 1 << 20;

/// After this time a difference may be longer than it had to be.
const PATIENCE: Duration = Duration::from_secs(1);

/// One line: `@` for a hunk's head, ` `, `+` or `-`, or `\` for what is said about the line before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its sign.
    pub sign: char,
    /// Its text, without the line feed; nothing in it is escaped yet.
    pub text: String,
}

/// A file's bytes as text, if they are text.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The difference in lines.
pub fn lines(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        lines.push(Line { sign: '@', text: hunk.header().to_string() });
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Insert => '+',
                ChangeTag::Delete => '-',
            };
            let whole = change.value();
            lines.push(Line { sign, text: whole.strip_suffix('\n').unwrap_or(whole).to_owned() });
            if change.missing_newline() {
                lines.push(Line { sign: '\\', text: " No newline at end of file".to_owned() });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        let line = |line: Line| match line.sign {
            '@' => line.text + "\n",
            sign => format!("{sign}{}\n", line.text),
        };
        lines(old, new).into_iter().map(line).collect()
    }

    /// As `diff -u` says it (its head left out).
    #[test]
    fn a_difference_reads_as_that_of_diff() {
        assert_eq!(shown("a\nb\nc\n", "a\nB\nc\n"), "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(shown("", "a\n"), "@@ -0,0 +1 @@\n+a\n");
        assert_eq!(shown("a\n", ""), "@@ -1 +0,0 @@\n-a\n");
        assert_eq!(shown("a", "a\n"), "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
        assert_eq!(shown("a\n", "a\n"), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_none() {
        assert_eq!(text(b"a\0b"), None);
        assert_eq!(text(b"\xff"), None);
        assert_eq!(text("é\n".as_bytes()), Some("é\n"));
    }
}
