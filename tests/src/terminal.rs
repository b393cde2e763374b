//! A person at a terminal: programs that run at one, what appears on it, and saying yes there.
#![forbid(unsafe_code)]

use crate::screen::{Screen, usual_width};
use crate::world::{LONG, Person, until};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::openpty;
use nix::sys::termios::{Termios, tcgetattr};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
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
    /// What it shows, if that is looked at.
    screen: Option<Screen>,
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
        Self { child, master: File::from(pty.master), seen: Vec::new(), passed: 0, out, screen: None }
    }

    /// Starts it at a terminal of this size, which is its own session's, and looks at what is shown. Whatever comes to
    /// the terminal from then on must be what may come (see [`Screen`]).
    pub fn watched(command: &Command, columns: u16, rows: u16) -> Self {
        let mut own = Command::new("setsid");
        own.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        own.current_dir(command.get_current_dir().unwrap());
        // A program that holds the other end itself never sees it go.
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(columns, rows)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open =
            || File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&name).unwrap();
        let slave = || Stdio::from(open());
        own.env("NO_COLOR", "1").env("TERM", "xterm").stdin(slave()).stderr(slave()).stdout(slave());
        let child = own.spawn().unwrap();
        drop(own);
        let screen = Some(Screen::new(columns, rows, usual_width));
        Self { child, master: File::from(master), seen: Vec::new(), passed: 0, out: None, screen }
    }

    /// The window has another size now.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        // What is still on its way was drawn for the old one.
        while self.has_more() && self.read() {}
        self.screen.as_mut().unwrap().resize(columns, rows);
        tcsetwinsize(&self.master, winsize(columns, rows)).unwrap();
    }

    /// What is shown.
    pub fn screen(&self) -> &Screen {
        self.screen.as_ref().expect("a watched terminal")
    }

    /// Reads until what is shown is this.
    #[track_caller]
    pub fn shows(&mut self, what: &str, is: impl Fn(&Screen) -> bool) {
        let end = Instant::now() + LONG;
        while !is(self.screen()) {
            assert!(Instant::now() < end, "waited too long for {what}; shown:\n{}", self.screen().text());
            assert!(self.read(), "it ended before {what}; shown:\n{}", self.screen().text());
        }
    }

    /// Reads until this is shown somewhere.
    #[track_caller]
    pub fn shows_text(&mut self, text: &str) {
        self.shows(&format!("{text:?}"), |screen| screen.text().contains(text));
    }

    /// How the terminal treats what is typed and shown.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.master).unwrap()
    }

    /// The program's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The terminal goes; gives how the program ended.
    pub fn hang_up(mut self) -> ExitStatus {
        drop(self.master);
        until("the program ends", || self.child.try_wait().unwrap())
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

    /// Whether there is something to read at once.
    fn has_more(&self) -> bool {
        let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, 0_u16).unwrap() > 0
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
        if let Some(screen) = &mut self.screen {
            screen.read(&buffer[..length]);
        }
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

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
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
