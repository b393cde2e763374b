//! The terminal that a program in a sandbox believes it has: a grid of cells, and nothing else that it could reach.
//!
//! What the program says is only ever read here. Titles, links, the clipboard, device control strings, reports about the
//! person's terminal, its size, its mouse and its modes have no meaning to it. A character gets into a cell only if it is
//! one that [`is_drawn`] knows.
#![forbid(unsafe_code)]

use avt::parser::{Function, Parser, State};
use avt::terminal::{BufferType, Cursor, Terminal};
use avt::{Cell, Line};
use closedpaw_ledger::record::is_unsafe;
use closedpaw_protocol::stream::WindowSize;
use std::collections::VecDeque;
use unicode_width::UnicodeWidthChar;

/// The most lines above the screen that wait to be drawn; older ones are not shown any more.
const ABOVE: usize = 1000;

/// The longest question of a program's that has an answer.
const QUESTION: usize = 4;

/// The fewest columns: in one, a wide character has no place to be moved to, and the parts it comes from do not expect that.
const FEWEST: u16 = 2;

/// What stands in for a character that could not be read or is not shown.
const INSTEAD: char = '\u{fffd}';

/// A terminal without a screen.
pub struct Emulator {
    parser: Parser,
    terminal: Terminal,
    columns: u16,
    /// The beginning of a character that was cut.
    cut: Vec<u8>,
    /// The control sequence that is being said, as far as it may be a question.
    question: Vec<char>,
    above: VecDeque<Line>,
}

impl Emulator {
    /// Blank.
    pub fn new(size: WindowSize) -> Self {
        let (columns, rows) = grid(size);
        Self {
            parser: Parser::new(),
            terminal: Terminal::new((columns, rows), Some(0)),
            columns: size.columns(),
            cut: Vec::new(),
            question: Vec::new(),
            above: VecDeque::new(),
        }
    }

    /// Another size; what was drawn is moved to fit.
    pub fn resize(&mut self, size: WindowSize) {
        self.columns = size.columns();
        let (columns, rows) = grid(size);
        self.terminal.resize(columns, rows);
        // These lines are on the person's screen already.
        self.terminal.gc().for_each(drop);
    }

    /// Reads what the program says. What comes back is the terminal's answers to it, from its own state alone.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        let mut said = std::mem::take(&mut self.cut);
        said.extend_from_slice(bytes);
        let mut rest = said.as_slice();
        while !rest.is_empty() {
            let (text, broken) = match std::str::from_utf8(rest) {
                Ok(text) => (text, None),
                Err(error) => {
                    let (good, _) = rest.split_at_checked(error.valid_up_to()).unwrap_or_default();
                    (std::str::from_utf8(good).unwrap_or_default(), Some(error.error_len()))
                }
            };
            text.chars().for_each(|c| self.step(c, &mut answers));
            rest = rest.get(text.len()..).unwrap_or_default();
            match broken {
                None => {}
                Some(Some(length)) => {
                    self.step(INSTEAD, &mut answers);
                    rest = rest.get(length..).unwrap_or_default();
                }
                Some(None) => {
                    self.cut = rest.to_vec();
                    break;
                }
            }
        }
        answers
    }

    fn step(&mut self, c: char, answers: &mut Vec<u8>) {
        let before = self.parser.state;
        let function = self.parser.feed(c);
        if matches!(before, State::CsiEntry | State::CsiParam) {
            // One more than a question may have is enough to know that it is none.
            if self.question.len() <= QUESTION {
                self.question.push(c);
            }
            if self.parser.state == State::Ground {
                self.answer(answers);
            }
        } else {
            self.question.clear();
        }
        match function {
            Some(Function::Print(c)) => self.print(c),
            // Once across the screen; more is nothing but work.
            Some(Function::Rep(times)) => self.terminal.execute(Function::Rep(times.min(self.columns))),
            Some(function) => self.terminal.execute(function),
            None => return,
        }
        for line in self.terminal.gc() {
            if self.above.len() == ABOVE {
                self.above.pop_front();
            }
            self.above.push_back(line);
        }
    }

    /// Puts a character into its cell, or what stands for it. What has no width has no cell.
    fn print(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        let shown = match c {
            _ if is_drawn(c) => return self.terminal.execute(Function::Print(c)),
            _ if c.is_whitespace() || c == '\u{2800}' => ' ',
            _ => INSTEAD,
        };
        for _ in 0..width {
            self.terminal.execute(Function::Print(shown));
        }
    }

    /// The questions that programs wait for an answer to (ECMA-48 8.3.24 and 8.3.35, xterm's ctlseqs).
    fn answer(&mut self, answers: &mut Vec<u8>) {
        let question: String = std::mem::take(&mut self.question).into_iter().collect();
        match question.as_str() {
            "5n" => answers.extend(b"\x1b[0n"),
            "6n" => {
                let Cursor { col, row, .. } = self.cursor();
                answers.extend(format!("\x1b[{};{}R", row + 1, col + 1).bytes());
            }
            // A VT102; of a version that is none.
            "c" | "0c" => answers.extend(b"\x1b[?6c"),
            ">c" | ">0c" => answers.extend(b"\x1b[>0;0;0c"),
            _ => {}
        }
    }

    /// Ends whatever full-screen program was showing, as a program that ends in order does.
    pub fn leave_alternate(&mut self) {
        if self.is_alternate() {
            // CAN ends an unfinished sequence.
            self.feed(b"\x18\x1b[?1049l");
        }
    }

    /// Whether a full-screen program is showing, on a screen that is gone afterwards.
    pub fn is_alternate(&self) -> bool {
        self.terminal.active_buffer_type() == BufferType::Alternate
    }

    /// Whether the program wants cursor keys in their other form.
    pub fn wants_application_keys(&self) -> bool {
        self.terminal.cursor_keys_app_mode()
    }

    /// The screen, row by row.
    pub fn rows(&self) -> impl Iterator<Item = &[Cell]> {
        self.terminal.view().map(Line::cells)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        self.terminal.size()
    }

    /// Where the cursor is, always on the screen.
    pub fn cursor(&self) -> Cursor {
        let (columns, rows) = self.terminal.size();
        let Cursor { col, row, visible } = self.terminal.cursor();
        Cursor { col: col.min(columns - 1), row: row.min(rows - 1), visible }
    }

    /// The lines that have left the screen at its top since the last time this was asked.
    pub fn take_above(&mut self) -> VecDeque<Line> {
        std::mem::take(&mut self.above)
    }
}

/// How many cells there are in a row, and how many rows.
fn grid(size: WindowSize) -> (usize, usize) {
    (size.columns().max(FEWEST).into(), size.rows().into())
}

/// Whether a character may be shown as it is: it takes up one cell or two, and does nothing.
pub fn is_drawn(c: char) -> bool {
    !is_unsafe(c) && matches!(c.width(), Some(1 | 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emulator() -> Emulator {
        Emulator::new(WindowSize::new(20, 4).unwrap())
    }

    fn shown(emulator: &Emulator) -> Vec<String> {
        let text =
            |row: &[Cell]| row.iter().filter(|cell| cell.width() > 0).map(Cell::char).collect::<String>();
        emulator.rows().map(|row| text(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn what_acts_on_a_terminal_is_in_no_cell() {
        let mut emulator = emulator();
        emulator
            .feed("a\u{202e}b\u{200b}c\u{e0041}d\u{feff}e\u{301}f\u{ad}g\u{7f}h\u{a0}i\u{e000}j".as_bytes());
        assert_eq!(shown(&emulator)[0], "abcdefgh i\u{fffd}j");
        let mut emulator = super::tests::emulator();
        emulator.feed(b"a\x1b]0;title\x07b\x1b]52;c;AAAA\x1b\\c\x1bP1;2qdata\x1b\\d\x1b_apc\x1b\\e\xc2\x9d8;;x\xc2\x9cf");
        assert_eq!(shown(&emulator)[0], "abcdef");
        // 8-bit controls are no text, in UTF-8.
        let mut emulator = super::tests::emulator();
        emulator.feed(b"a\x9b31mb");
        assert_eq!(shown(&emulator)[0], "a\u{fffd}31mb");
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        let mut emulator = emulator();
        for byte in "é 名🦀".bytes() {
            emulator.feed(&[byte]);
        }
        assert_eq!(shown(&emulator)[0], "é 名🦀");
        emulator.feed(b"\r\xe5\x90");
        emulator.feed(b"x");
        assert_eq!(shown(&emulator)[0], "\u{fffd}x名🦀");
    }

    #[test]
    fn answers_are_of_the_emulators_own_state() {
        for (said, answer) in [
            (&b"\x1b[5n"[..], &b"\x1b[0n"[..]),
            (b"\x1b[2;3H\x1b[6n", b"\x1b[2;3R"),
            (b"\x1b[c", b"\x1b[?6c"),
            (b"\x1b[>c", b"\x1b[>0;0;0c"),
            // The title, the size in pixels, colours, the clipboard, settings, modes, the answer to ENQ, the keyboard.
            (b"\x1b[21t\x1b[14t\x1b[18t\x1b]11;?\x07\x1b]52;c;?\x07\x1bP$qm\x1b\\\x1b[?2004$p\x05\x1b[?u\x1b[>q", b""),
            (b"\x1bP+q544e\x1b\\\x1b[?15n\x1b[?6n\x1b[x\x1b[=c\x1b[66n\x1b[0000000006n", b""),
        ] {
            let mut emulator = emulator();
            assert_eq!(emulator.feed(said), answer, "{}", String::from_utf8_lossy(said));
            let mut emulator = super::tests::emulator();
            let bytewise: Vec<u8> = said.iter().flat_map(|byte| emulator.feed(&[*byte])).collect();
            assert_eq!(bytewise, answer, "{}", String::from_utf8_lossy(said));
        }
    }

    /// The most that lines above the screen may take, however much is said at once.
    #[test]
    fn a_flood_is_not_kept() {
        let mut emulator = emulator();
        emulator.feed("line\n".repeat(100_000).as_bytes());
        emulator.feed("\x1b[65535S".repeat(1000).as_bytes());
        assert_eq!(emulator.take_above().len(), ABOVE);
        assert_eq!(emulator.take_above().len(), 0);
        emulator.feed("x\x1b[65535b".repeat(1000).as_bytes());
        assert!(emulator.take_above().len() <= ABOVE);
    }
}
