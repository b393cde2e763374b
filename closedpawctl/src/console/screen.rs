//! The only place that writes to the terminal.
//!
//! Nothing that came from a model, a tool or a file is written as it is: whatever could move the cursor, change
//! colours, hide, reorder or address the terminal is shown as an escape. Answers go to standard output, everything
//! else to standard error.
#![forbid(unsafe_code)]

use closedpaw_ledger::record::is_unsafe;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How long something takes before a spinner says that it does.
const PATIENCE: Duration = Duration::from_millis(500);

/// Text made safe to show on one line.
pub fn visible(text: &str) -> String {
    text.chars().map(shown).collect()
}

/// Text made safe to show, its line ends and tabs kept.
pub fn visible_lines(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c.to_string() } else { shown(c) }).collect()
}

fn shown(c: char) -> String {
    if is_unsafe(c) || c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }
}

/// Whether there is a person at a terminal who can be asked.
pub fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What is shown and where.
pub struct Screen {
    colour: bool,
    live: bool,
    spinner: Option<ProgressBar>,
    open_line: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Colour and motion only where there is a terminal that wants them (<https://no-color.org>).
    pub fn new() -> Self {
        let live = io::stderr().is_terminal();
        Self { colour: live && std::env::var_os("NO_COLOR").is_none(), live, spinner: None, open_line: false }
    }

    /// Says that something is being waited for, if it takes long enough to notice.
    pub fn waiting(&mut self, what: &str) {
        self.rest();
        if !self.live {
            return;
        }
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.set_message(visible(what));
        self.spinner = Some(spinner);
    }

    /// Called now and then; brings the spinner up once it was waited for long enough.
    pub fn tick(&mut self) {
        if let Some(spinner) = &self.spinner
            && spinner.elapsed() >= PATIENCE
        {
            if spinner.is_hidden() {
                spinner.set_draw_target(ProgressDrawTarget::stderr());
            }
            spinner.tick();
        }
    }

    /// Takes the spinner away.
    pub fn rest(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// A piece of the answer.
    pub fn token(&mut self, text: &str) {
        self.rest();
        self.open_line = !text.ends_with('\n');
        out(&visible_lines(text));
    }

    /// The answer's passage is over.
    pub fn passage_end(&mut self) {
        if std::mem::take(&mut self.open_line) {
            out("\n");
        }
    }

    /// A remark of the console's own. What others said is made [`visible`] before it becomes part of one.
    pub fn note(&mut self, text: &str) {
        self.line("·", text, "2");
    }

    /// A remark of the agent's, which may say anything; its mark is not the console's.
    pub fn remark(&mut self, text: &str) {
        self.line("▹", text, "2");
    }

    /// A tool that was asked for.
    pub fn tool(&mut self, text: &str) {
        self.line("▸", text, "36");
    }

    /// Something that went wrong.
    pub fn problem(&mut self, text: &str) {
        self.line("!", text, "31");
    }

    /// What a tool puts out: shown where there is a terminal, each line apart from what the console itself says.
    pub fn output(&mut self, bytes: &[u8]) {
        if !self.live {
            return;
        }
        self.rest();
        self.passage_end();
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines() {
            err(&self.paint(&format!("  │ {}", visible(line)), "2"));
        }
    }

    fn line(&mut self, mark: &str, text: &str, colour: &str) {
        self.rest();
        self.passage_end();
        for line in text.lines() {
            err(&self.paint(&format!("{mark} {}", visible(line)), colour));
        }
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m\n") } else { format!("{text}\n") }
    }
}

/// Writes an answer to standard output. A reader that has gone is no error; that there is none any more is returned, for what
/// would never end otherwise.
pub fn out(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Writes a line of an answer to standard output, in a colour where that is a terminal that wants one. What others wrote in
/// it is made [`visible`] before.
pub fn out_line(text: &str, colour: Option<&str>) -> bool {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match colour.filter(|_| wanted) {
        Some(colour) => out(&format!("\u{1b}[{colour}m{text}\u{1b}[0m\n")),
        None => out(&format!("{text}\n")),
    }
}

/// Writes bytes of a program that the person ran: as they are, but to a terminal only as visible text.
pub fn pass(bytes: &[u8], to_stderr: bool) {
    let terminal = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let shown =
        if terminal { visible_lines(&String::from_utf8_lossy(bytes)).into_bytes() } else { bytes.to_vec() };
    if to_stderr {
        let _ = io::stderr().lock().write_all(&shown);
    } else {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(&shown).and_then(|()| stdout.flush());
    }
}

/// Writes a piece of a picture that [`super::terminal::drawer`] drew; `false` if the terminal has gone.
pub fn cells(mut picture: &[u8]) -> bool {
    let stdout = io::stdout();
    while !picture.is_empty() {
        match rustix::io::write(&stdout, picture) {
            Ok(written) => picture = picture.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // Somebody else may have made it so.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return false,
        }
    }
    true
}

/// Writes to standard error.
pub fn err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows P4 and I2: nothing that reaches the terminal can do anything to it.
    #[test]
    fn what_could_act_on_a_terminal_is_shown_as_an_escape() {
        for (hostile, shown) in [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{1b}]8;;http://evil\u{7}x", "\\u{1b}]8;;http://evil\\u{7}x"),
            ("\u{1b}]52;c;AAAA\u{7}", "\\u{1b}]52;c;AAAA\\u{7}"),
            ("a\rb", "a\\u{d}b"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("a\u{e0041}b", "a\\u{e0041}b"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\0b", "a\\u{0}b"),
            ("a\nb", "a\\u{a}b"),
        ] {
            assert_eq!(visible(hostile), shown);
        }
        assert_eq!(visible("名前 é 🦀"), "名前 é 🦀");
    }
}
