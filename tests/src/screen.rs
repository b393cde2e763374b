//! What a terminal shows that takes anything for an attack but the few sequences that docs/ISOLATION.md lists.
//!
//! It is a reader of its own: it shares nothing with what draws.
#![forbid(unsafe_code)]

/// A screen, and a judge of what comes to it.
pub struct Screen {
    columns: usize,
    grid: Vec<Vec<char>>,
    other: Vec<Vec<char>>,
    /// The lines that have left it at its top.
    pub above: Vec<String>,
    row: usize,
    column: usize,
    alternate: bool,
    /// Whether rows end where they end: a picture is being drawn.
    drawing: bool,
    /// Whether terminals would disagree about where the cursor is.
    doubtful: bool,
    pending: Vec<u8>,
    width: fn(char) -> usize,
}

impl Screen {
    /// A blank one. `width`: how many columns a character takes up.
    pub fn new(columns: u16, rows: u16, width: fn(char) -> usize) -> Self {
        let grid = vec![vec![' '; columns.into()]; rows.into()];
        Self {
            columns: columns.into(),
            other: grid.clone(),
            grid,
            above: Vec::new(),
            row: 0,
            column: 0,
            alternate: false,
            drawing: false,
            doubtful: false,
            pending: Vec::new(),
            width,
        }
    }

    /// Another size. What is on it then is anything.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.columns = columns.into();
        self.grid = vec![vec!['#'; columns.into()]; rows.into()];
        self.other = self.grid.clone();
        (self.row, self.column) = (self.row.min(self.grid.len() - 1), self.column.min(self.columns - 1));
    }

    /// Reads what came, in pieces of any kind.
    ///
    /// # Panics
    /// If it is anything but what may come.
    pub fn read(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let whole = match std::str::from_utf8(&pending) {
            Ok(text) => text,
            Err(error) => {
                assert_eq!(error.error_len(), None, "no UTF-8: {pending:?}");
                std::str::from_utf8(&pending[..error.valid_up_to()]).unwrap()
            }
        };
        let mut rest = whole;
        while let Some(c) = rest.chars().next() {
            let Some(length) = self.token(c, rest) else { break };
            rest = &rest[length..];
        }
        self.pending = pending[whole.len() - rest.len()..].to_vec();
    }

    /// Takes the next character or sequence; `None` if it is not all there yet.
    fn token(&mut self, c: char, rest: &str) -> Option<usize> {
        match c {
            '\r' => (self.column, self.doubtful) = (0, false),
            '\n' => self.line_feed(),
            '\u{1b}' => {
                let sequence = rest.get(1..)?;
                let second = sequence.chars().next()?;
                assert_eq!(second, '[', "ESC and {second:?}");
                let sequence = &sequence[1..];
                let end = sequence.find(|c: char| !matches!(c, '0'..='9' | ';' | '?'))?;
                let last = sequence[end..].chars().next()?;
                self.control(&sequence[..end], last);
                return Some(2 + end + last.len_utf8());
            }
            c => self.print(c),
        }
        Some(c.len_utf8())
    }

    fn line_feed(&mut self) {
        self.doubtful = false;
        if self.row + 1 < self.grid.len() {
            self.row += 1;
            return;
        }
        assert!(!self.alternate, "a full-screen picture scrolls nothing away");
        let line: String = self.grid.remove(0).into_iter().filter(|c| *c != '\0').collect();
        self.above.push(line.trim_end().to_owned());
        self.grid.push(vec![' '; self.columns]);
    }

    fn control(&mut self, numbers: &str, last: char) {
        let plain: Option<Vec<usize>> = numbers.split(';').map(|number| number.parse().ok()).collect();
        match (numbers, last, plain.as_deref()) {
            (_, 'H', Some([row @ 1..=1000, column @ 1..=1000])) => {
                self.doubtful = false;
                self.row = (row - 1).min(self.grid.len() - 1);
                self.column = (column - 1).min(self.columns - 1);
            }
            (_, 'm', Some(numbers)) => assert!(is_style(numbers), "{numbers:?}"),
            ("", 'K', _) => {
                assert!(!self.doubtful, "where is the cursor?");
                let (row, column) = (self.row, self.column);
                self.grid[row][column..].fill(' ');
            }
            ("?25", 'h' | 'l', _) => {}
            ("?7", 'h' | 'l', _) => self.drawing = last == 'l',
            // Leaving it twice changes nothing.
            ("?1049", 'h' | 'l', _) if self.alternate != (last == 'h') => {
                self.alternate = last == 'h';
                std::mem::swap(&mut self.grid, &mut self.other);
                if self.alternate {
                    self.grid.iter_mut().for_each(|row| row.fill(' '));
                }
            }
            ("?1049", 'l', _) => {}
            _ => panic!("ESC [ {numbers:?} {last:?}"),
        }
    }

    fn print(&mut self, c: char) {
        assert!(!acts(c), "{c:?} came to the terminal");
        assert!(!(self.drawing && self.doubtful), "where is the cursor?");
        let width = (self.width)(c);
        if self.column + width > self.columns {
            if self.drawing {
                self.column = self.columns - width.min(self.columns);
            } else {
                self.column = 0;
                self.line_feed();
            }
        }
        let (row, column) = (self.row, self.column);
        self.grid[row][column] = c;
        if width == 2 && column + 1 < self.columns {
            self.grid[row][column + 1] = '\0';
        }
        self.column += width;
        if self.drawing {
            self.column = self.column.min(self.columns - 1);
        }
        self.doubtful = !c.is_ascii();
    }

    /// What it shows, row by row.
    pub fn rows(&self) -> Vec<String> {
        let text = |row: &Vec<char>| row.iter().filter(|c| **c != '\0').collect::<String>();
        self.grid.iter().map(|row| text(row).trim_end().to_owned()).collect()
    }

    /// All that it shows.
    pub fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// Row and column of the cursor.
    pub fn cursor(&self) -> (usize, usize) {
        (self.row, self.column)
    }

    /// Whether a full-screen program shows.
    pub fn is_alternate(&self) -> bool {
        self.alternate
    }
}

/// Attributes and colours (ECMA-48 8.3.117): everything off, then what is on.
fn is_style(mut numbers: &[usize]) -> bool {
    let [0, rest @ ..] = numbers else { return false };
    numbers = rest;
    loop {
        numbers = match numbers {
            [] => return true,
            [38 | 48, 5, 0..=255, rest @ ..] | [38 | 48, 2, 0..=255, 0..=255, 0..=255, rest @ ..] => rest,
            [1 | 2 | 3 | 4 | 7 | 9 | 30..=37 | 40..=47 | 90..=97 | 100..=107, rest @ ..] => rest,
            _ => return false,
        };
    }
}

/// What does something else than to be seen: controls, bidi, zero widths, tags (Unicode 17, 23.2, 23.3, 23.9).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c), 0xad | 0x34f | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e
            | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe0fff)
}

/// One column, and two for the characters of these tests that are wide.
pub fn usual_width(c: char) -> usize {
    if matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0x1f300..=0x1faff) {
        2
    } else {
        1
    }
}
