//! A person at a terminal: programs that run at one, what appears on it, and saying yes there.
#![forbid(unsafe_code)]

use crate::world::{LONG, Person, until};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// A program at a terminal: its input and its errors are the terminal, its output is a pipe or the terminal, too.
pub struct Terminal {
    child: Child,
    master: File,
    seen: Vec<u8>,
    /// How much of what was seen lies before the end of the text that was last expected in turn.
    passed: usize,
    out: Option<std::thread::JoinHandle<Vec<u8>>>,
}

/// What came of a program at a terminal.
pub struct Shown {
    /// How it ended.
    pub status: ExitStatus,
    /// What went to the pipe.
    pub out: Vec<u8>,
    /// What appeared on the terminal.
    pub seen: String,
}

impl Terminal {
    /// Starts it. `piped`: its output goes to a pipe, as with `… | cat`.
    pub fn start(mut command: Command, piped: bool) -> Self {
        let pty = openpty(None, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        command.env("NO_COLOR", "1").env("TERM", "xterm").stdin(slave()).stderr(slave());
        command.stdout(if piped { Stdio::piped() } else { slave() });
        let mut child = command.spawn().unwrap();
        drop(command);
        let out = child.stdout.take().map(|mut out| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                out.read_to_end(&mut bytes).unwrap();
                bytes
            })
        });
        Self { child, master: File::from(pty.master), seen: Vec::new(), passed: 0, out }
    }

    /// Types.
    pub fn write(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until this has appeared.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + LONG;
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            assert!(
                Instant::now() < end,
                "waited too long for {text:?}; seen: {}",
                String::from_utf8_lossy(&self.seen)
            );
            assert!(self.read(), "it ended before {text:?}; seen: {}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Reads until this has appeared after what was expected in turn before.
    #[track_caller]
    pub fn expect_in_turn(&mut self, text: &str) {
        let end = Instant::now() + LONG;
        let found = loop {
            let rest = self.seen.get(self.passed..).unwrap_or_default();
            if let Some(at) = rest.windows(text.len()).position(|part| part == text.as_bytes()) {
                break at;
            }
            assert!(Instant::now() < end, "waited too long for {text:?}; seen: {}", self.seen());
            assert!(self.read(), "it ended before {text:?}; seen: {}", self.seen());
        };
        self.passed += found + text.len();
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// A piece more, if there is one soon; `false` at the end.
    fn read(&mut self) -> bool {
        let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, 200_u16).unwrap() == 0 {
            return true;
        }
        let mut buffer = [0; 65536];
        // The last program at the terminal has gone: EIO (pty(7)).
        let Ok(length @ 1..) = self.master.read(&mut buffer) else { return false };
        self.seen.extend_from_slice(&buffer[..length]);
        true
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Shown {
        let end = Instant::now() + LONG;
        while self.read() {
            assert!(Instant::now() < end, "it does not end; seen: {}", self.seen());
        }
        let status = until("the program ends", || self.child.try_wait().unwrap());
        let out = self.out.take().map_or_else(Vec::new, |out| out.join().unwrap());
        Shown { status, out, seen: self.seen() }
    }
}

/// How the end of a question begins; the forged one in these tests has not all of it.
pub const QUESTION: &str = "[n] no   [s] stop";

/// `closedpawctl WORDS` at a terminal, where a person says yes to the one question.
pub fn says_yes(person: &Person, words: &[&str]) -> Shown {
    let mut terminal = Terminal::start(person.ctl_command(words), true);
    terminal.expect(QUESTION);
    terminal.write("y\n");
    terminal.finish()
}
