//! From tokens' bytes to text that can be sent: whole characters, and nothing of a stop string.

#![forbid(unsafe_code)]

/// Holds back what cannot be judged yet.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    text: String,
    stops: Vec<String>,
}

/// What a further token brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Delta {
    /// Text that may be sent now, perhaps none.
    Text(String),
    /// The last text: a stop string follows.
    Stopped(String),
}

impl Held {
    /// Nothing held yet; none of `stops` is empty.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self { bytes: Vec::new(), text: String::new(), stops }
    }

    /// Takes a token's bytes, which may end inside a character.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> Delta {
        self.bytes.extend_from_slice(bytes);
        self.take_whole_characters();
        if let Some(at) = self.stops.iter().filter_map(|stop| self.text.find(stop.as_str())).min() {
            self.text.truncate(at);
            return Delta::Stopped(std::mem::take(&mut self.text));
        }
        let held = self.text.split_off(self.text.len() - self.begun_stop());
        Delta::Text(std::mem::replace(&mut self.text, held))
    }

    /// What is left at the end: it was no stop string after all.
    #[must_use]
    pub fn finish(self) -> String {
        self.text + &String::from_utf8_lossy(&self.bytes)
    }

    /// A byte that can begin no character becomes U+FFFD; an incomplete character waits.
    fn take_whole_characters(&mut self) {
        let cut_off = self.bytes.utf8_chunks().last().filter(|last| may_go_on(last.invalid()));
        let incomplete = cut_off.map_or(0, |last| last.invalid().len());
        let rest = self.bytes.split_off(self.bytes.len() - incomplete);
        let whole = std::mem::replace(&mut self.bytes, rest);
        self.text.push_str(&String::from_utf8_lossy(&whole));
    }

    /// How many bytes at the end may be the beginning of a stop string.
    fn begun_stop(&self) -> usize {
        let begun = |stop: &String| {
            (1..stop.len()).rev().find(|n| stop.get(..*n).is_some_and(|start| self.text.ends_with(start)))
        };
        self.stops.iter().filter_map(begun).max().unwrap_or(0)
    }
}

/// Whether more bytes could still make these a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Delta {
        Delta::Text(text.into())
    }

    #[test]
    fn a_character_is_sent_whole() {
        let mut held = Held::new(vec![]);
        let euro = "€".as_bytes();
        assert_eq!(held.push(&[b'a', euro[0]]), text("a"));
        assert_eq!(held.push(&euro[1..2]), text(""));
        assert_eq!(held.push(&[euro[2], b'b']), text("€b"));
        assert_eq!(held.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_character_do_not_hold_up_the_rest() {
        let mut held = Held::new(vec![]);
        assert_eq!(held.push(b"a\xffb"), text("a\u{fffd}b"));
        assert_eq!(held.push(b"\xff\xe2\x82"), text("\u{fffd}"));
        assert_eq!(held.push(b"c"), text("\u{fffd}c"));
        assert_eq!(held.push(b"\xf0\x9f"), text(""));
        assert_eq!(held.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_string_across_tokens_is_never_sent() {
        let mut held = Held::new(vec!["END".into(), "\n\n".into()]);
        assert_eq!(held.push(b"one E"), text("one "));
        assert_eq!(held.push(b"N"), text(""));
        assert_eq!(held.push(b"D two"), Delta::Stopped(String::new()));
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_sent_late() {
        let mut held = Held::new(vec!["END".into()]);
        assert_eq!(held.push(b"EN"), text(""));
        assert_eq!(held.push(b"EN"), text("EN"));
        assert_eq!(held.push(b"T"), text("ENT"));
        assert_eq!(held.push(b"E"), text(""));
        assert_eq!(held.finish(), "E");
    }

    #[test]
    fn the_earliest_of_two_stop_strings_counts() {
        let mut held = Held::new(vec!["b".into(), "ab".into()]);
        assert_eq!(held.push(b"xab"), Delta::Stopped("x".into()));
    }
}
