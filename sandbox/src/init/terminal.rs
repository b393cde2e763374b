//! A terminal of the sandbox's own for one program: its two ends, and everything that belongs to its session.
#![forbid(unsafe_code)]

use super::sys;
use closedpaw_protocol::stream::WindowSize;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, getsid};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The end that the program gets; its three streams are this one.
pub(super) struct Line {
    /// The program's end.
    pub(super) theirs: OwnedFd,
    /// Init's end.
    pub(super) ours: Terminal,
}

/// The end of the terminal at which init sits in the person's place.
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    /// A new terminal of this size.
    pub(super) fn open(size: WindowSize) -> io::Result<Line> {
        let pair = openpty(Some(&winsize(size)), None)?;
        // Init has one thread, so nothing is started in between.
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // It is the sandbox's root's, who may not give it away; the person opens it by its name, too (tty(1), script(1)).
        fchmod(&pair.slave, Mode::from_bits_truncate(0o666))?;
        Ok(Line { theirs: pair.slave, ours: Self(pair.master) })
    }

    /// One more descriptor of this end.
    pub(super) fn again(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// The window has another size now.
    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        sys::set_size(self.0.as_fd(), &winsize(size))
    }
}

fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows(), ws_col: size.columns(), ws_xpixel: 0, ws_ypixel: 0 }
}

/// Signals every process of the session that this process began; a job that stands still is woken, so that it hears.
pub(super) fn signal_session(leader: Pid, signal: Signal) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for process in numbers.map(Pid::from_raw).filter(|process| getsid(Some(*process)) == Ok(leader)) {
        // It may be gone already.
        let _ = kill(process, signal);
        if signal == Signal::SIGHUP {
            let _ = kill(process, Signal::SIGCONT);
        }
    }
}
