//! A program at the person's terminal, and never with its hands on it.
//!
//! What the program says goes to an [emulator](emulator), whose cells are [drawn](drawer) with a handful of sequences of
//! the client's own. What the person types goes to the program as it is, but for one [escape](keys). Nothing of the
//! program's reaches the terminal itself, and nothing of the terminal's own, asked by a program, reaches the program.
#![forbid(unsafe_code)]

pub mod drawer;
pub mod emulator;
mod keys;
mod painter;
mod raw;

use crate::failure::Failure;
use crate::work::{Feeding, Listening, Said};
use closedpaw_protocol::stream::{Exit, WindowSize};
use drawer::Drawer;
use emulator::Emulator;
use keys::{Keys, Typing};
use painter::Painter;
use raw::Raw;
use std::io::{self, IsTerminal};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The least time between two pictures.
const FRAME: Duration = Duration::from_millis(20);

/// How many bytes go to the emulator before keys are looked at again.
const SLICE: usize = 256;

/// How many pieces of what was typed wait for a program that does not read; what comes then is lost, as at any terminal.
const WAITING: usize = 256;

/// How long the last picture may take.
const LAST: Duration = Duration::from_secs(2);

/// A terminal is wanted: both sides of it must be there.
pub fn check() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::new(
        "no-terminal",
        64,
        "--tty needs standard input and standard output to be a terminal",
        "leave --tty out, or run it at a terminal",
    ))
}

/// Carries what is typed to the program and draws what it shows, until it ends or the person leaves.
///
/// However this ends, the terminal is as it was before.
pub async fn carry(listening: Listening, feeding: Feeding) -> Result<Exit, Failure> {
    let lost = |error: io::Error| Failure::new("terminal", 74, format!("the terminal: {error}"), "");
    let endings = Endings::new().map_err(lost)?;
    let resized = signal(SignalKind::window_change()).map_err(lost)?;
    let raw = Raw::enter().map_err(lost)?;
    let size = raw::size();
    let (sizes, news) = watch::channel(size);
    let (type_in, typed_in) = mpsc::channel(WAITING);
    tokio::task::spawn_local(feed(feeding, typed_in, news));
    let (drawer, beginning) = Drawer::new(size);
    let painter = Painter::start(beginning);
    let seat = Seat {
        listening,
        emulator: Emulator::new(size),
        drawer,
        painter,
        keys: Keys::default(),
        program: type_in,
        sizes,
        heard: Vec::new(),
        stale: true,
        next: Instant::now(),
    };
    let result = seat.sit(endings, resized).await;
    drop(raw);
    result
}

/// Everything between the person and the program.
struct Seat {
    listening: Listening,
    emulator: Emulator,
    drawer: Drawer,
    painter: Painter,
    keys: Keys,
    program: mpsc::Sender<Vec<u8>>,
    sizes: watch::Sender<WindowSize>,
    /// What the program has said and the emulator has not seen.
    heard: Vec<u8>,
    /// Whether the emulator has changed since the last picture.
    stale: bool,
    /// When the next picture may be drawn.
    next: Instant,
}

impl Seat {
    async fn sit(mut self, mut endings: Endings, mut resized: Signal) -> Result<Exit, Failure> {
        let mut typing =
            Typing::start().map_err(|error| Failure::new("terminal", 74, error.to_string(), ""))?;
        loop {
            tokio::select! {
                biased;
                number = endings.next() => return Err(ended_by(number)),
                _ = resized.recv() => self.resize(),
                typed = typing.next() => match typed {
                    Some(typed) if self.type_in(&typed) => return Err(left()),
                    Some(_) => {}
                    None => return Err(ended_by(1)),
                },
                painting = self.painter.free(self.next), if self.stale => {
                    if !painting {
                        return Err(ended_by(1));
                    }
                    self.draw();
                }
                // The other branches are looked at before each slice.
                () = tokio::task::yield_now(), if !self.heard.is_empty() => self.show_slice(),
                said = self.listening.next(), if self.heard.is_empty() => match said {
                    Said::Stdout(bytes) | Said::Stderr(bytes) => self.heard = bytes,
                    Said::Exit(exit) => {
                        self.finish().await;
                        return Ok(exit);
                    }
                },
            }
        }
    }

    fn resize(&mut self) {
        let size = raw::size();
        self.emulator.resize(size);
        self.drawer.resize(size);
        self.stale = true;
        // The feeder has gone with the program; how that ended is still to come.
        let _ = self.sizes.send(size);
    }

    /// Whether the person leaves.
    fn type_in(&mut self, typed: &[u8]) -> bool {
        let (keys, leaves) = self.keys.read(typed, self.emulator.wants_application_keys());
        if !keys.is_empty() {
            let _ = self.program.try_send(keys);
        }
        leaves
    }

    fn show_slice(&mut self) {
        let rest = self.heard.split_off(self.heard.len().min(SLICE));
        let slice = std::mem::replace(&mut self.heard, rest);
        let answers = self.emulator.feed(&slice);
        // A program that asks and does not read the answers gets no more of them; what is typed has the room.
        if !answers.is_empty() && self.program.capacity() > WAITING / 2 {
            let _ = self.program.try_send(answers);
        }
        self.stale = true;
    }

    fn draw(&mut self) {
        let picture = self.drawer.frame(&mut self.emulator);
        self.painter.paint(picture);
        self.stale = false;
        self.next = Instant::now() + FRAME;
    }

    /// The last picture, and the cursor below it.
    async fn finish(mut self) {
        let picture = self.drawer.last(&mut self.emulator);
        let painted = async {
            if self.painter.free(Instant::now()).await {
                self.painter.paint(picture);
            }
            self.painter.finish().await;
        };
        let _ = tokio::time::timeout(LAST, painted).await;
    }
}

/// Gives the program what is typed and tells it how large its terminal is, that first.
async fn feed(
    mut feeding: Feeding,
    mut typed: mpsc::Receiver<Vec<u8>>,
    mut sizes: watch::Receiver<WindowSize>,
) {
    sizes.mark_changed();
    loop {
        let sent = tokio::select! {
            biased;
            changed = sizes.changed() => {
                if changed.is_err() {
                    return;
                }
                let size = *sizes.borrow_and_update();
                feeding.resize(size).await
            }
            typed = typed.recv() => match typed {
                Some(typed) => feeding.input(&typed).await,
                None => return,
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Signals that end the client and would leave the terminal raw.
struct Endings([(u8, Signal); 3]);

impl Endings {
    fn new() -> io::Result<Self> {
        Ok(Self([
            (1, signal(SignalKind::hangup())?),
            (3, signal(SignalKind::quit())?),
            (15, signal(SignalKind::terminate())?),
        ]))
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        let Self([(one, first), (two, second), (three, third)]) = self;
        tokio::select! {
            _ = first.recv() => *one,
            _ = second.recv() => *two,
            _ = third.recv() => *three,
        }
    }
}

fn ended_by(signal: u8) -> Failure {
    Failure::new("stopped", 128 + signal, "stopped", "nothing is left running")
}

fn left() -> Failure {
    Failure::new("left", 255, "you left the program with ~.", "nothing is left running")
}
