//! Draws an emulator's cells on the person's terminal, with a handful of sequences and no other.
//!
//! All that is ever written: characters that [`is_drawn`] knows, CR and LF, and, after ESC `[`:
//!
//! | sequence | what it does |
//! |---|---|
//! | ROW `;` COLUMN `H` | puts the cursor there |
//! | `0` and attributes `m` | bold, faint, italic, underlined, inverse, struck out; colours |
//! | `K` | blanks the rest of the row |
//! | `?7h` `?7l` | goes on in the next row at the end of one, or not |
//! | `?25h` `?25l` | shows the cursor, or not |
//! | `?1049h` `?1049l` | the screen for full-screen programs, and back |
#![forbid(unsafe_code)]

use super::emulator::{Emulator, is_drawn};
use avt::{Cell, Color, Line, Pen};
use closedpaw_protocol::stream::WindowSize;

/// Leaves the screen in order, whatever was on it and wherever a picture broke off.
pub(super) const LEAVE: &[u8] = b"\x1b[0m\x1b[?1049l\x1b[0m\x1b[?7h\x1b[?25h\x1b[1000;1H\r\n";

/// What is on the person's terminal.
pub struct Drawer {
    columns: usize,
    /// The cells that were drawn; a row of another length is not known.
    shown: Vec<Vec<Cell>>,
    cursor: Option<(usize, usize, bool)>,
    alternate: bool,
}

impl Drawer {
    /// An empty screen; what stood on it is above it now, where the person's terminal keeps such lines.
    pub fn new(size: WindowSize) -> (Self, Vec<u8>) {
        let (columns, rows) = (usize::from(size.columns()), usize::from(size.rows()));
        let drawer = Self {
            columns,
            shown: vec![vec![Cell::default(); columns]; rows],
            cursor: None,
            alternate: false,
        };
        let mut out = b"\x1b[0m\x1b[?7l\r".to_vec();
        out.resize(out.len() + rows, b'\n');
        out.extend(b"\x1b[1;1H");
        (drawer, out)
    }

    /// Another size: the terminal has moved everything in its own way.
    pub fn resize(&mut self, size: WindowSize) {
        self.columns = usize::from(size.columns());
        self.shown = vec![Vec::new(); usize::from(size.rows())];
        self.cursor = None;
    }

    /// What turns the last picture into this one; nothing if nothing has changed.
    pub fn frame(&mut self, emulator: &mut Emulator) -> Vec<u8> {
        let mut brush = Brush::default();
        let above = emulator.take_above();
        if self.alternate && !emulator.is_alternate() {
            self.switch(&mut brush, false);
        }
        if !self.alternate {
            self.push_above(&mut brush, above.iter().map(Line::cells));
        }
        if emulator.is_alternate() && !self.alternate {
            self.switch(&mut brush, true);
        }
        for (number, row) in emulator.rows().enumerate() {
            self.row(&mut brush, number, row);
        }
        let at = emulator.cursor();
        let column = at.col.min(self.columns - 1);
        let cursor = Some((at.row, column, at.visible));
        if brush.out.is_empty() && self.cursor == cursor {
            return Vec::new();
        }
        self.cursor = cursor;
        brush.go(at.row, column);
        if at.visible {
            brush.out.extend(b"\x1b[?25h");
        }
        [b"\x1b[?25l", brush.out.as_slice()].concat()
    }

    /// The last picture: the screen stays, and the cursor is on a line of its own below what was written.
    pub fn last(&mut self, emulator: &mut Emulator) -> Vec<u8> {
        emulator.leave_alternate();
        let mut out = self.frame(emulator);
        let written =
            emulator.rows().enumerate().filter(|(_, row)| row.iter().any(|cell| !cell.is_default()));
        let last = written.last().map_or(0, |(number, _)| number + 1);
        let at = emulator.cursor();
        if at.col == 0 && at.row >= last {
            out.extend(format!("\x1b[0m\x1b[{};1H", at.row + 1).bytes());
        } else {
            out.extend(format!("\x1b[0m\x1b[{};1H\r\n", last.max(at.row + 1)).bytes());
        }
        out.extend(b"\x1b[?7h\x1b[?25h");
        out
    }

    fn switch(&mut self, brush: &mut Brush, alternate: bool) {
        brush.out.extend(if alternate { b"\x1b[?1049h" } else { b"\x1b[?1049l" });
        brush.pen = None;
        self.alternate = alternate;
        self.shown.iter_mut().for_each(Vec::clear);
    }

    /// Draws lines that have left the screen, and has the terminal move them up to where it keeps such lines.
    ///
    /// They are mostly on the screen already, at its top; then only moving is left to do.
    fn push_above<'a>(&mut self, brush: &mut Brush, above: impl ExactSizeIterator<Item = &'a [Cell]>) {
        let rows = self.shown.len();
        let mut above = above.peekable();
        while above.peek().is_some() {
            let mut drawn = 0;
            for line in above.by_ref().take(rows) {
                self.row(brush, drawn, line);
                drawn += 1;
            }
            brush.style(Pen::default());
            brush.go(rows - 1, 0);
            brush.out.resize(brush.out.len() + drawn, b'\n');
            self.shown.drain(..drawn.min(rows));
            self.shown.resize(rows, vec![Cell::default(); self.columns]);
        }
    }

    fn row(&mut self, brush: &mut Brush, number: usize, cells: &[Cell]) {
        let Some(shown) = self.shown.get_mut(number) else { return };
        let cells = cells.get(..self.columns).unwrap_or(cells);
        let known = shown.len() == cells.len();
        let blank_from = cells.len() - cells.iter().rev().take_while(|cell| cell.is_default()).count();
        let same = |column: usize| known && shown.get(column) == cells.get(column);
        // Where the cursor surely is; not behind a character about whose width terminals do not agree.
        let mut at = None;
        let mut doubtful = false;
        for (column, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.width() > 0) {
            let untouched = same(column) && (cell.width() == 1 || same(column + 1)) && !doubtful;
            doubtful = false;
            if untouched {
                continue;
            }
            if at != Some(column) {
                brush.go(number, column);
            }
            brush.style(*cell.pen());
            if column >= blank_from {
                brush.out.extend(b"\x1b[K");
                break;
            }
            let fits = column + usize::from(cell.width()) <= self.columns;
            doubtful = !brush.put(if fits { cell.char() } else { ' ' });
            at = (!doubtful).then_some(column + 1);
        }
        cells.clone_into(shown);
    }
}

/// Writes, and knows in which style.
#[derive(Default)]
struct Brush {
    out: Vec<u8>,
    pen: Option<Pen>,
}

impl Brush {
    fn go(&mut self, row: usize, column: usize) {
        self.out.extend(format!("\x1b[{};{}H", row + 1, column + 1).bytes());
    }

    fn style(&mut self, pen: Pen) {
        if self.pen.replace(pen) == Some(pen) {
            return;
        }
        let attributes = [
            (pen.is_bold(), ";1"),
            (pen.is_faint(), ";2"),
            (pen.is_italic(), ";3"),
            (pen.is_underline(), ";4"),
            (pen.is_inverse(), ";7"),
            (pen.is_strikethrough(), ";9"),
        ];
        self.out.extend(b"\x1b[0");
        for (_, number) in attributes.iter().filter(|(has, _)| *has) {
            self.out.extend(number.bytes());
        }
        self.colour(pen.foreground(), 30);
        self.colour(pen.background(), 40);
        self.out.push(b'm');
    }

    /// The eight first colours as every terminal knows them, the bright ones, and the rest (ECMA-48 8.3.117, xterm's
    /// ctlseqs).
    fn colour(&mut self, colour: Option<Color>, base: u16) {
        let numbers = match colour {
            None => return,
            Some(Color::Indexed(index @ 0..8)) => format!(";{}", base + u16::from(index)),
            Some(Color::Indexed(index @ 8..16)) => format!(";{}", base + 52 + u16::from(index)),
            Some(Color::Indexed(index)) => format!(";{};5;{index}", base + 8),
            Some(Color::RGB(rgb)) => format!(";{};2;{};{};{}", base + 8, rgb.r, rgb.g, rgb.b),
        };
        self.out.extend(numbers.bytes());
    }

    /// Whether every terminal goes on one column further.
    fn put(&mut self, c: char) -> bool {
        // The emulator has no others; here is where it counts.
        let c = if is_drawn(c) { c } else { '?' };
        self.out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        c.is_ascii()
    }
}

#[cfg(test)]
mod tests;
