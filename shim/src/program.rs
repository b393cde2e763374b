//! A shim's own program, as a runtime calls it: in the sandbox's folder, with its words and three variables.
#![forbid(unsafe_code)]

use crate::error::{ShimError, plain};
use crate::reply::{LONGEST, Reply};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Whose sandboxes they are, for a shim that has those of others, too.
const NAMESPACE: &str = "closedpaw";

/// Where no folder is named for the shim's own programs.
const PATH: &str = "/usr/sbin:/usr/bin";

/// Which shim, for which sandbox, in which folder.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) path: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) id: String,
}

/// How long all of what is done may take.
#[derive(Debug)]
pub(crate) struct Limit {
    end: Instant,
    all: Duration,
}

impl Limit {
    pub(crate) fn of(all: Duration) -> Self {
        Self { end: Instant::now() + all, all }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The same, where there must be something left.
    pub(crate) fn nanoseconds(&self, what: &'static str) -> Result<i64, ShimError> {
        match i64::try_from(self.left().as_nanos()) {
            Ok(left) if left > 0 => Ok(left),
            _ => Err(ShimError::Slow { what, seconds: self.all.as_secs() }),
        }
    }
}

impl Shim {
    /// Has it start its server, and reads where that listens. The answer stays in the sandbox's folder for whoever ends it.
    pub(crate) fn start(&self, limit: &Limit) -> Result<Reply, ShimError> {
        self.run("start", &self.answer(), limit)?;
        self.reply()
    }

    /// Where it listened when it was started.
    pub(crate) fn reply(&self) -> Result<Reply, ShimError> {
        let mut text = String::new();
        let file = File::open(self.answer()).map_err(ShimError::here("its start reply"))?;
        file.take(LONGEST).read_to_string(&mut text).map_err(ShimError::here("its start reply"))?;
        Reply::read(&text)
    }

    /// Has its program clear up after a server that is no more.
    pub(crate) fn clear_up(&self, limit: &Limit) -> Result<(), ShimError> {
        // What it says is how the sandbox ended, which is of no use here.
        self.run("delete", Path::new("/dev/null"), limit)
    }

    /// The file that its start reply is in.
    pub(crate) fn answer(&self) -> PathBuf {
        self.bundle.join("shim-answer")
    }

    /// What the server says of itself.
    pub(crate) fn log(&self) -> PathBuf {
        self.bundle.join("log")
    }

    fn run(&self, word: &str, output: &Path, limit: &Limit) -> Result<(), ShimError> {
        let said = self.bundle.join("shim-said");
        let what = if word == "start" { "start" } else { "delete" };
        let here = ShimError::here::<io::Error>;
        let mut command = self.command(word);
        // Files, not pipes: the server would inherit those, and whoever reads one would wait as long as it runs.
        command.stdout(File::create(output).map_err(here("its output"))?);
        command.stderr(File::create(&said).map_err(here("its errors"))?);
        let mut process = command.spawn().map_err(here("starting the shim's program"))?;
        match ended(&mut process, limit).map_err(here("waiting for the shim's program"))? {
            None => Err(ShimError::Slow { what, seconds: limit.all.as_secs() }),
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let said = String::from_utf8_lossy(&fs::read(&said).unwrap_or_default()).into_owned();
                Err(ShimError::Failed { what, status: status.to_string(), said: plain(&said) })
            }
        }
    }

    fn command(&self, word: &str) -> Command {
        let socket = self.bundle.join("events");
        let mut events = OsString::from(&socket);
        events.push(".ttrpc");
        let mut command = Command::new(&self.path);
        command.current_dir(&self.bundle).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        command.env("TTRPC_ADDRESS", events).env("GRPC_ADDRESS", &socket).env("MAX_SHIM_VERSION", "3");
        command.args(["-namespace", NAMESPACE, "-id", &self.id, "-publish-binary", "/bin/true", "-address"]);
        command.arg(socket);
        if word == "delete" {
            command.arg("-bundle").arg(&self.bundle);
        }
        command.arg(word);
        command
    }
}

/// Waits for a program of its own accord, or ends it when its time is over.
fn ended(process: &mut Child, limit: &Limit) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
    let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(limit.left()).unwrap_or(PollTimeout::MAX);
    if poll(&mut watched, patience)? == 0 {
        process.kill()?;
        process.wait()?;
        return Ok(None);
    }
    process.wait().map(Some)
}
