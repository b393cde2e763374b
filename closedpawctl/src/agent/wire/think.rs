//! Takes thinking out of an answer's text, where a server leaves it in: `<think>…</think>` at the beginning.
//!
//! Only at the beginning: further on, the words may be what the answer is about.
#![forbid(unsafe_code)]

use super::Event;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A filter over the pieces of a text.
#[derive(Debug, Default)]
pub(super) struct ThinkFilter {
    state: State,
    /// What cannot be told apart yet: a part of one of the marks, so a few bytes.
    held: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Beginning,
    Thinking,
    Answer,
}

impl ThinkFilter {
    /// Gives out what is known to be text or thinking.
    pub(super) fn push(&mut self, piece: &str, out: &mut Vec<Event>) {
        if self.state == State::Answer {
            return text(piece.to_owned(), out);
        }
        self.held.push_str(piece);
        loop {
            match self.state {
                State::Beginning => {
                    let blank = self.held.len() - self.held.trim_start().len();
                    text(self.held.drain(..blank).collect(), out);
                    match after_mark(&self.held, OPEN) {
                        Mark::Found(after) => {
                            self.held = after.to_owned();
                            self.state = State::Thinking;
                        }
                        Mark::Perhaps => return,
                        Mark::No => {
                            self.state = State::Answer;
                            return text(std::mem::take(&mut self.held), out);
                        }
                    }
                }
                State::Thinking => match self.held.split_once(CLOSE) {
                    Some((thought, after)) => {
                        thinking(thought.to_owned(), out);
                        self.held = after.to_owned();
                        self.state = State::Beginning;
                    }
                    None => {
                        let keep = longest_partial_end(&self.held, CLOSE);
                        let rest = self.held.split_off(self.held.len() - keep);
                        return thinking(std::mem::replace(&mut self.held, rest), out);
                    }
                },
                State::Answer => return,
            }
        }
    }

    /// Nothing follows: what was held is what it looks like.
    pub(super) fn finish(&mut self, out: &mut Vec<Event>) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => thinking(held, out),
            State::Beginning | State::Answer => text(held, out),
        }
    }
}

enum Mark<'a> {
    Found(&'a str),
    Perhaps,
    No,
}

fn after_mark<'a>(text: &'a str, mark: &str) -> Mark<'a> {
    match text.strip_prefix(mark) {
        Some(after) => Mark::Found(after),
        None if mark.starts_with(text) => Mark::Perhaps,
        None => Mark::No,
    }
}

/// How many bytes at the end of `text` may be the beginning of `mark`. The mark is ASCII.
fn longest_partial_end(text: &str, mark: &str) -> usize {
    (1..mark.len())
        .rev()
        .find(|length| mark.get(..*length).is_some_and(|start| text.ends_with(start)))
        .unwrap_or(0)
}

fn text(piece: String, out: &mut Vec<Event>) {
    if !piece.is_empty() {
        out.push(Event::Text(piece));
    }
}

fn thinking(piece: String, out: &mut Vec<Event>) {
    if !piece.is_empty() {
        out.push(Event::Thinking(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&str]) -> (String, String) {
        let mut filter = ThinkFilter::default();
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| filter.push(piece, &mut out));
        filter.finish(&mut out);
        let (mut answer, mut thoughts) = (String::new(), String::new());
        for event in out {
            if let Event::Text(piece) = event {
                answer.push_str(&piece);
            } else if let Event::Thinking(piece) = event {
                thoughts.push_str(&piece);
            }
        }
        (answer, thoughts)
    }

    fn each_char(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn thinking_at_the_beginning_is_no_answer() {
        for (given, answer, thoughts) in [
            ("<think>a</think>b", "b", "a"),
            (" \n<think>\na</b></think>\n\nb", " \n\n\nb", "\na</b>"),
            ("<think></think><think>x</think>y", "y", "x"),
            ("<think>never closed </thi", "", "never closed </thi"),
            ("plain <think>a</think>", "plain <think>a</think>", ""),
            ("<thin air", "<thin air", ""),
            ("<think", "<think", ""),
            ("  ", "  ", ""),
            ("é<think>", "é<think>", ""),
        ] {
            let wanted = (answer.to_owned(), thoughts.to_owned());
            assert_eq!(split(&[given]), wanted, "{given}");
            let pieces = each_char(given);
            assert_eq!(split(&pieces.iter().map(String::as_str).collect::<Vec<_>>()), wanted, "{given}");
        }
    }
}
