//! What reaches the person's terminal, judged by a reader of its own.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use super::*;
use closedpaw_tests::screen::Screen;
use proptest::prelude::*;

/// How many columns terminals give it, as far as they agree.
fn width(c: char) -> usize {
    unicode_width::UnicodeWidthChar::width(c).unwrap_or(0)
}

fn rows_of(emulator: &Emulator) -> Vec<String> {
    let text = |row: &[Cell]| row.iter().filter(|cell| cell.width() > 0).map(Cell::char).collect::<String>();
    emulator.rows().map(|row| text(row).trim_end().to_owned()).collect()
}

/// Feeds the pieces, a picture after each, and compares what the person sees with what the emulator holds.
fn show(columns: u16, rows: u16, pieces: &[&[u8]]) -> Screen {
    let size = WindowSize::new(columns, rows).unwrap();
    let mut emulator = Emulator::new(size);
    let (mut drawer, beginning) = Drawer::new(size);
    let mut judge = Screen::new(columns, rows, width);
    judge.read(&beginning);
    for piece in pieces {
        emulator.feed(piece);
        judge.read(&drawer.frame(&mut emulator));
        assert_eq!(judge.rows(), rows_of(&emulator));
        let at = emulator.cursor();
        assert_eq!(judge.cursor(), (at.row, at.col));
        assert_eq!(drawer.frame(&mut emulator), b"", "nothing has changed");
    }
    judge.read(&drawer.last(&mut emulator));
    assert!(!judge.is_alternate());
    judge
}

#[test]
fn what_leaves_the_screen_is_above_it() {
    let lines: String = (1..=100).map(|number| format!("line {number}\r\n")).collect();
    for pieces in [vec![lines.as_bytes()], lines.as_bytes().chunks(7).collect()] {
        let judge = show(20, 5, &pieces);
        let said: Vec<String> = (1..=96).map(|number| format!("line {number}")).collect();
        let from = judge.above.iter().position(|line| line == "line 1").unwrap();
        assert_eq!(judge.above[from..from + 96], said);
        assert_eq!(judge.rows()[..4], ["line 97", "line 98", "line 99", "line 100"]);
    }
}

#[test]
fn a_full_screen_program_leaves_no_trace() {
    let judge =
        show(20, 5, &[b"before\r\n", b"\x1b[?1049h\x1b[2Jfull\x1b[5;1Hscreen", b"\x1b[?1049l", b"after"]);
    assert_eq!(judge.rows()[..2], ["before", "after"]);
    assert_eq!(judge.cursor(), (2, 0), "the cursor is on a line of its own");
    // Nor does one that ends without leaving.
    let judge = show(20, 5, &[b"before\r\n", b"\x1b[?1049h\x1b[2Jfull\x1b]0;half"]);
    assert_eq!(judge.rows()[0], "before");
}

#[test]
fn attributes_and_colours_are_drawn_with_the_numbers_every_terminal_knows() {
    let size = WindowSize::new(40, 2).unwrap();
    let mut emulator = Emulator::new(size);
    let (mut drawer, _) = Drawer::new(size);
    emulator.feed(b"\x1b[1;31ma\x1b[0;4;92mb\x1b[0;38;5;200mc\x1b[0;48;2;1;2;3md\x1b[0;8;5;53me");
    let picture = String::from_utf8(drawer.frame(&mut emulator)).unwrap();
    for part in ["\x1b[0;1;31ma", "\x1b[0;4;92mb", "\x1b[0;38;5;200mc", "\x1b[0;48;2;1;2;3md", "\x1b[0me"] {
        assert!(picture.contains(part), "{part:?} in {picture:?}");
    }
}

/// Rows I2 and P4, each also cut at every byte.
#[test]
fn nothing_acts_on_the_terminal_however_it_is_cut() {
    for attack in [
        "a\u{1b}]8;;http://evil\u{1b}\\b\u{1b}]8;;\u{7}",
        "a\u{1b}]52;c;AAAA\u{7}b",
        "a\u{1b}]0;title\u{7}b\u{1b}]2;title\u{1b}\\",
        "a\u{1b}P1$tx\u{1b}\\b\u{1b}P0;1|17/41\u{1b}\\",
        "a\u{1b}[6n\u{1b}[c\u{1b}[>c\u{1b}[21tb\u{1b}[?2004h\u{1b}[?1003h\u{1b}[?1006h",
        "a\u{9b}31mb\u{9d}0;x\u{9c}\u{90}q\u{9c}",
        "a\u{202e}b\u{2066}c\u{200b}d\u{e0041}e\u{feff}",
        "a\u{1b}[3J\u{1b}c\u{1b}#8\u{1b}[8;10;10t\u{1b}[!p",
        "a\u{1b}[",
        "a\u{1b}]",
        "a\u{1b}P",
        "名\u{1b}(0qqq\u{e}x\u{1b})0",
    ] {
        show(20, 4, &[attack.as_bytes()]);
        show(20, 4, &attack.as_bytes().chunks(1).collect::<Vec<_>>());
        for at in 0..attack.len() {
            let (one, two) = attack.as_bytes().split_at(at);
            show(20, 4, &[one, two]);
            show(20, 4, &[one]);
        }
    }
}

/// A row of one column has no place for a character of two.
#[test]
fn one_column_shows_what_fits() {
    let size = WindowSize::new(1, 2).unwrap();
    let mut emulator = Emulator::new(WindowSize::USUAL);
    let (mut drawer, _) = Drawer::new(WindowSize::USUAL);
    emulator.feed("名名\u{1b}[Ax名".as_bytes());
    emulator.resize(size);
    drawer.resize(size);
    let mut judge = Screen::new(1, 2, width);
    judge.read(b"\x1b[?7l");
    judge.read(&drawer.frame(&mut emulator));
    emulator.feed("\u{1b}[2J\u{1b}[H名\r\nx".as_bytes());
    judge.read(&drawer.frame(&mut emulator));
    assert_eq!(judge.rows(), ["", "x"]);
}

/// Sequences that a program says, and pieces of them.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let numbers =
        prop::collection::vec(prop_oneof![0..30_u32, Just(65535), Just(1049), Just(4), Just(7)], 0..4);
    let sequence = (prop_oneof![Just(""), Just("?"), Just(">"), Just("!")], numbers, "[@-~]").prop_map(
        |(mark, numbers, last)| {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            format!("\u{1b}[{mark}{}{last}", numbers.join(";")).into_bytes()
        },
    );
    prop_oneof![
        3 => sequence,
        2 => "[ -~]{0,30}".prop_map(String::into_bytes),
        2 => "\\PC{0,6}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => "(\r\n|\n|\t|\u{8}|\u{1b}[78DEHMc]|\u{e}|\u{f}|\u{1b}\\(0){1,4}".prop_map(String::into_bytes),
        1 => "[名🦀é]{1,5}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_is_said_is_drawn_as_the_emulator_has_it(
        columns in 2..30_u16,
        rows in 1..8_u16,
        pieces in prop::collection::vec(said(), 1..40),
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        show(columns, rows, &pieces);
    }

    #[test]
    fn at_any_size_and_through_any_change_of_it(
        pieces in prop::collection::vec((said(), 2..40_u16, 1..10_u16), 1..30),
    ) {
        let size = WindowSize::USUAL;
        let mut emulator = Emulator::new(size);
        let (mut drawer, beginning) = Drawer::new(size);
        let mut judge = Screen::new(size.columns(), size.rows(), width);
        judge.read(&beginning);
        for (piece, columns, rows) in pieces {
            let size = WindowSize::new(columns, rows).unwrap();
            emulator.resize(size);
            drawer.resize(size);
            emulator.feed(&piece);
            // What is on the terminal then is anything.
            judge.resize(columns, rows);
            judge.read(&drawer.frame(&mut emulator));
            prop_assert_eq!(judge.rows(), rows_of(&emulator));
        }
    }
}
