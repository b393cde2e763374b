//! Server-sent events, as far as model servers use them: the data of each event.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>
#![forbid(unsafe_code)]

/// Collects bytes to events. Lines end with LF, CR or CRLF; comments and other fields are left out.
#[derive(Debug)]
pub(super) struct Sse {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    first_line: bool,
    limit: usize,
}

/// An event or a line is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventTooLong;

impl Sse {
    pub(super) fn new(limit: usize) -> Self {
        Self { line: Vec::new(), data: Vec::new(), has_data: false, after_cr: false, first_line: true, limit }
    }

    /// Calls `each` with the data of every event that these bytes complete, until it says no.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), EventTooLong> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.take(rest);
            };
            let (line, after) = rest.split_at(end);
            self.take(line)?;
            self.after_cr = after.first() == Some(&b'\r');
            rest = after.get(1..).unwrap_or_default();
            if self.end_of_line()? && !each(&std::mem::take(&mut self.data)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What was not followed by an empty line. The standard drops it; a server that hangs up after its last
    /// word would then have said nothing.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.end_of_line().ok()?;
        }
        std::mem::take(&mut self.has_data).then(|| std::mem::take(&mut self.data))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len().saturating_add(bytes.len()) > self.limit {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether an event is complete.
    fn end_of_line(&mut self) -> Result<bool, EventTooLong> {
        let line = std::mem::take(&mut self.line);
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(after_mark) if std::mem::take(&mut self.first_line) => after_mark,
            _ => line.as_slice(),
        };
        self.first_line = false;
        if line.is_empty() {
            return Ok(std::mem::take(&mut self.has_data));
        }
        let data = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', data @ ..] | [b':', data @ ..]) => data,
            _ => return Ok(false),
        };
        if self.data.len().saturating_add(data.len()) >= self.limit {
            return Err(EventTooLong);
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&str]) -> Vec<String> {
        let mut sse = Sse::new(100);
        let mut seen = Vec::new();
        for piece in pieces {
            sse.push(piece.as_bytes(), |data| {
                seen.push(String::from_utf8(data.to_vec()).unwrap());
                true
            })
            .unwrap();
        }
        seen.extend(sse.rest().map(|rest| String::from_utf8(rest).unwrap()));
        seen
    }

    #[test]
    fn every_line_end_of_the_standard_ends_a_line() {
        assert_eq!(all(&["data: a\n\ndata: b\r\n\r\ndata: c\r\rdata:d\n\n"]), ["a", "b", "c", "d"]);
        assert_eq!(all(&["data: a\r", "\n", "\r", "\ndata: b\r", "\n\r\n"]), ["a", "b"]);
    }

    #[test]
    fn comments_and_other_fields_are_left_out() {
        assert_eq!(
            all(&["\u{feff}data: a\n\n: keep-alive\n\nevent: x\nid: 1\nretry: 2\n\ndata2: no\n\n"]),
            ["a"]
        );
        assert!(all(&[": only\n\n", "event: x\n\n"]).is_empty());
    }

    #[test]
    fn several_lines_are_one_event() {
        assert_eq!(all(&["data: a\ndata\ndata:  b\n\n"]), ["a\n\n b"]);
    }

    #[test]
    fn the_last_event_may_lack_its_empty_line() {
        assert_eq!(all(&["data: a\n\ndata: b\n"]), ["a", "b"]);
        assert_eq!(all(&["data: a\n\ndata: b"]), ["a", "b"]);
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused_before_it_is_whole() {
        let mut sse = Sse::new(10);
        assert_eq!(sse.push(b"data: 12345", |_| true), Err(EventTooLong));
        let mut sse = Sse::new(10);
        assert_eq!(sse.push(b"data: 123\ndata: 456\ndata: 789\ndata: 0\n", |_| true), Err(EventTooLong));
    }
}
