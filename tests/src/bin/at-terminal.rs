//! A person at a terminal, for scripts: `at-terminal [expect TEXT | type TEXT]… -- PROGRAM [WORDS…]`.
//!
//! Starts the program at a terminal of its own, waits until each text to expect has appeared after the one before, types
//! what is to be typed, and prints all that appeared. Its exit status is the program's; it panics if a text does not appear.
#![forbid(unsafe_code)]

use closedpaw_tests::terminal::Terminal;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut parts = words.splitn(2, |word| word == "--");
    let (steps, program) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some((program, words)) = program.split_first() else { return usage() };
    let mut command = Command::new(program);
    command.args(words);
    let mut terminal = Terminal::start(command, false);
    for step in steps.chunks(2) {
        match step {
            [word, text] if word == "expect" => terminal.expect_in_turn(text),
            [word, text] if word == "type" => terminal.write(&format!("{text}\n")),
            _ => return usage(),
        }
    }
    let shown = terminal.finish();
    // Whoever reads this may have gone.
    let _ = io::stdout().write_all(shown.seen.replace('\r', "").as_bytes());
    shown.status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn usage() -> ExitCode {
    let _ = writeln!(io::stderr(), "usage: at-terminal [expect TEXT | type TEXT]... -- PROGRAM [WORDS...]");
    ExitCode::from(64)
}
