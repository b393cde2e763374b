//! Lines: JSON objects, one each, cut anywhere on their way.
#![forbid(unsafe_code)]

/// Collects bytes to lines. Empty lines are left out: proxies send them to keep a connection open.
#[derive(Debug)]
pub(super) struct Lines {
    partial: Vec<u8>,
    limit: usize,
}

/// A line is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { partial: Vec::new(), limit }
    }

    /// Calls `each` with every line that these bytes complete, until it says no.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), LineTooLong> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            self.take(line)?;
            let whole = std::mem::take(&mut self.partial);
            if !whole.trim_ascii().is_empty() && !each(whole.trim_ascii()) {
                return Ok(());
            }
        }
        self.take(rest)
    }

    /// What stands after the last newline: a last line may lack it.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.partial.len().saturating_add(bytes.len()) > self.limit {
            return Err(LineTooLong);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines::new(100);
        let mut seen = Vec::new();
        for piece in pieces {
            lines
                .push(piece.as_bytes(), |line| {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                    true
                })
                .unwrap();
        }
        seen.extend(lines.rest().map(|rest| String::from_utf8(rest).unwrap()));
        seen
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        assert_eq!(all(&["a\r\n\n \nb", "b\n", "\n", "c"]), ["a", "bb", "c"]);
        assert_eq!(all(&["a", "\n", "b", "\n"]), ["a", "b"]);
        assert!(all(&["", "\n", "  "]).is_empty());
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_before_it_is_whole() {
        let mut lines = Lines::new(4);
        assert_eq!(lines.push(b"1234\n1234", |_| true), Ok(()));
        assert_eq!(lines.push(b"5", |_| true), Err(LineTooLong));
    }
}
