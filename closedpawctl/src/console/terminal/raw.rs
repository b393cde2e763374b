//! The person's terminal in raw mode, and out of it again however the client ends.
#![forbid(unsafe_code)]

use super::drawer;
use crate::console::screen;
use closedpaw_protocol::stream::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How the terminal was, while it is raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Held while bytes go to the terminal.
static WRITING: Mutex<()> = Mutex::new(());

/// Whether the screen is ours: nothing is drawn when it is not.
static DRAWING: AtomicBool = AtomicBool::new(false);

/// How long a terminal that takes nothing any more is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// A terminal that is raw as long as this is there.
pub(super) struct Raw(());

impl Raw {
    /// Raw from now on.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        restore_on_panic();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let raw_now = Self(());
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        DRAWING.store(true, Ordering::SeqCst);
        Ok(raw_now)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// The release build ends at a panic without dropping anything.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

/// As it was. Where nothing is raw, nothing happens.
fn restore() {
    let unfinished = DRAWING.swap(false, Ordering::SeqCst);
    let before = BEFORE.try_lock().ok().and_then(|mut before| before.take());
    let Some(before) = before else { return };
    if unfinished {
        // Whoever writes stops at the next piece; a terminal that takes nothing is not waited for.
        let end = Instant::now() + PATIENCE;
        while WRITING.try_lock().is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        screen::cells(drawer::LEAVE);
    }
    // A terminal that has gone needs nothing.
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
}

/// Writes a picture, as long as the screen is ours; `false` if the terminal has gone.
pub(super) fn write(picture: &[u8]) -> bool {
    const PIECE: usize = 4096;
    for piece in picture.chunks(PIECE) {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !DRAWING.load(Ordering::SeqCst) {
            return true;
        }
        if !screen::cells(piece) {
            return false;
        }
    }
    true
}

/// The screen was left in order: nothing is to be put right.
pub(super) fn drawn() {
    DRAWING.store(false, Ordering::SeqCst);
}

/// How large the terminal is, within bounds; 80 by 24 where it does not say.
pub(super) fn size() -> WindowSize {
    let said = tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let side = |said: u16, usual: u16| if said == 0 { usual } else { said.min(WindowSize::MOST) };
    WindowSize::new(side(said.0, 80), side(said.1, 24)).unwrap_or(WindowSize::USUAL)
}
