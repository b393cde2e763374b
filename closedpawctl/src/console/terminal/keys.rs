//! What the person types: as it is to the program, but for `~.` at the beginning of a line, which leaves it.
#![forbid(unsafe_code)]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::AsFd;
use tokio::sync::mpsc;

/// The most that is read at once.
const PIECE: usize = 4096;

/// Standard input, read by a thread that takes nothing more once this is gone.
pub(super) struct Typing {
    typed: mpsc::Receiver<Vec<u8>>,
    /// Its end is what ends the thread.
    _there: PipeWriter,
}

impl Typing {
    pub(super) fn start() -> io::Result<Self> {
        let (gone, there) = pipe()?;
        let (tell, typed) = mpsc::channel(1);
        std::thread::spawn(move || read(&gone, &tell));
        Ok(Self { typed, _there: there })
    }

    /// The next piece; `None` when the terminal has gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.typed.recv().await
    }
}

fn read(gone: &PipeReader, tell: &mpsc::Sender<Vec<u8>>) {
    let stdin = io::stdin();
    loop {
        let mut watched =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(gone.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let [_, gone] = watched;
        if gone.any() != Some(false) {
            return;
        }
        let mut piece = vec![0; PIECE];
        match rustix::io::read(&stdin, &mut piece) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(length @ 1..) => {
                piece.truncate(length);
                if tell.blocking_send(piece).is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Where in a line the person is, as ssh(1) has it.
pub(super) struct Keys {
    begins: bool,
    tilde: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self { begins: true, tilde: false }
    }
}

impl Keys {
    /// What of this goes to the program, and whether the person leaves it. `~~` is one `~`.
    pub(super) fn read(&mut self, typed: &[u8], application: bool) -> (Vec<u8>, bool) {
        let mut keys = Vec::with_capacity(typed.len() + 1);
        for key in typed {
            match (std::mem::take(&mut self.tilde), key) {
                (true, b'.') => return (keys, true),
                (false, b'~') if self.begins => {
                    self.tilde = true;
                    continue;
                }
                (true, b'~') | (false, _) => keys.push(*key),
                (true, _) => keys.extend([b'~', *key]),
            }
            self.begins = matches!(key, b'\r' | b'\n');
        }
        (if application { as_application(&keys) } else { keys }, false)
    }
}

/// Cursor keys in the form that a program asked its own terminal for (DECCKM); the person's was never told of it.
fn as_application(keys: &[u8]) -> Vec<u8> {
    let mut keys = keys.to_vec();
    let mut at = 0;
    while let Some(rest) = keys.get_mut(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [0x1b, form @ b'[', b'A'..=b'D' | b'H' | b'F', ..] => {
                *form = b'O';
                3
            }
            _ => 1,
        };
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, bool) {
        let (mut keys, mut all) = (Keys::default(), Vec::new());
        for piece in pieces {
            let (some, leaves) = keys.read(piece.as_bytes(), false);
            all.extend(some);
            if leaves {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    /// As ssh(1) describes its own.
    #[test]
    fn a_tilde_and_a_dot_leave_only_at_the_beginning_of_a_line() {
        assert_eq!(typed(&["~."]), (String::new(), true));
        assert_eq!(typed(&["ls\r~."]), ("ls\r".into(), true));
        assert_eq!(typed(&["ls\r", "~", "."]), ("ls\r".into(), true));
        assert_eq!(typed(&["ls ~.\r"]), ("ls ~.\r".into(), false));
        assert_eq!(typed(&["~~.\r"]), ("~.\r".into(), false));
        assert_eq!(typed(&["~/x\r~a"]), ("~/x\r~a".into(), false));
        assert_eq!(typed(&["x~", "~", "."]), ("x~~.".into(), false));
    }

    #[test]
    fn cursor_keys_come_in_the_form_that_was_asked_for() {
        let keys = b"\x1b[A\x1b[Fx\x1b[1;5A\x1b[\x1b";
        assert_eq!(Keys::default().read(keys, true).0, b"\x1bOA\x1bOFx\x1b[1;5A\x1b[\x1b");
        assert_eq!(Keys::default().read(keys, false).0, keys);
    }
}
