//! A program as it is to be started: all of it laid out before there is a process.
#![forbid(unsafe_code)]

use super::terminal::{Line, Terminal};
use super::{User, sys};
use closedpaw_confine::filter::Filter;
use closedpaw_protocol::action::Stdin;
use closedpaw_protocol::stream::WindowSize;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::net::unix::pipe;

/// What execve(2) takes, and where it is to happen.
pub(super) struct Program {
    /// Where the program may lie, in the order in which it is looked for.
    pub(super) places: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    stdin: Stdin,
    /// The system calls that it is left with, where that is not for the sandbox alone to say.
    pub(super) filter: Option<Filter>,
}

/// A process that runs, the leader of a group of its own, and our ends of its three streams.
pub(super) struct Started {
    pub(super) process: i32,
    /// `None` if it was started without input.
    pub(super) input: Option<pipe::Sender>,
    pub(super) output: pipe::Receiver,
    /// `None` if they go where its output goes.
    pub(super) errors: Option<pipe::Receiver>,
    /// Its terminal, if it has one; the process is then the leader of a session of its own, too.
    pub(super) terminal: Option<Terminal>,
}

impl Program {
    /// `None` without a word to run or with a null byte somewhere: no program can be given either.
    pub(super) fn new(argv: &[String], cwd: &str, env: &BTreeMap<&str, &str>, stdin: &Stdin) -> Option<Self> {
        let name = argv.first()?;
        let places: Vec<String> = if name.contains('/') {
            vec![name.clone()]
        } else {
            let path = env.get("PATH").copied().unwrap_or_default();
            path.split(':').map(|folder| format!("{folder}/{name}")).collect()
        };
        let strings = |all: Vec<String>| -> Option<Vec<CString>> {
            all.into_iter().map(|one| CString::new(one).ok()).collect()
        };
        Some(Self {
            places: strings(places)?,
            argv: strings(argv.to_vec())?,
            env: strings(env.iter().map(|(name, value)| format!("{name}={value}")).collect())?,
            cwd: CString::new(cwd).ok()?,
            stdin: *stdin,
            filter: None,
        })
    }

    /// The same, left with these system calls only, if that is to be.
    pub(super) fn with(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// Whether it is to have a terminal.
    pub(super) fn wants_terminal(&self) -> bool {
        self.stdin == Stdin::Terminal
    }

    /// Starts it as that user; why not is what the first call that failed said.
    ///
    /// Our ends are waited on before there is a process, so that init has nothing left to do while it starts.
    pub(super) fn start(&self, user: User) -> io::Result<Started> {
        let (stdin, input) = if self.stdin != Stdin::Empty {
            let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
            (theirs, Some(pipe::Sender::from_owned_fd_unchecked(waiting(ours)?)?))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let (output, stdout) = pipe2(OFlag::O_CLOEXEC)?;
        let (errors, stderr) = pipe2(OFlag::O_CLOEXEC)?;
        let output = pipe::Receiver::from_owned_fd_unchecked(waiting(output)?)?;
        let errors = pipe::Receiver::from_owned_fd_unchecked(waiting(errors)?)?;
        let process = sys::spawn(self, user, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], false)?;
        Ok(Started { process, input, output, errors: Some(errors), terminal: None })
    }

    /// Starts it as that user at a terminal of this size.
    pub(super) fn start_at_terminal(&self, user: User, size: WindowSize) -> io::Result<Started> {
        let Line { theirs, ours } = Terminal::open(size)?;
        let input = pipe::Sender::from_owned_fd_unchecked(ours.again()?)?;
        let output = pipe::Receiver::from_owned_fd_unchecked(ours.again()?)?;
        let process = sys::spawn(self, user, [theirs.as_fd(); 3], true)?;
        Ok(Started { process, input: Some(input), output, errors: None, terminal: Some(ours) })
    }
}

/// A pipe's end made ready for tokio, which would ask first whether it is one and whether it is ready.
fn waiting(end: OwnedFd) -> io::Result<OwnedFd> {
    fcntl(end.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(end)
}
