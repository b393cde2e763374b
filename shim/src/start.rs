//! Starting a sandbox: whole, or with nothing left behind.
#![forbid(unsafe_code)]

use crate::apart;
use crate::error::{ShimError, plain};
use crate::finish::{self, PROCESSES, remove_socket};
use crate::orphans;
use crate::program::{Limit, Shim};
use crate::task::Task;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// How long clearing up after one that failed may take.
const AFTER: Duration = Duration::from_secs(15);

/// How a sandbox is started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Where the number of its first process is written.
    pub(crate) pid_file: PathBuf,
    /// Its workspace, where that is in another sandbox's folder.
    pub(crate) keep: Option<PathBuf>,
    /// How long it may take.
    pub(crate) patience: Duration,
}

/// Ends when the sandbox's first process runs and its number is in the file for it. This process's own input and output are
/// the sandbox's then.
pub(crate) fn start(shim: &Shim, how: &Start) -> Result<(), ShimError> {
    let limit = Limit::of(how.patience);
    let _alone = finish::lock(shim, &limit)?;
    orphans::adopt()?;
    apart::set_apart(&shim.bundle, how.keep.as_deref())?;
    let started = begin(shim, &limit).and_then(|process| {
        fs::write(&how.pid_file, process.to_string())
            .map_err(ShimError::here("the file of its first process"))
    });
    started.map_err(|error| {
        undo(shim);
        with_log(error, shim)
    })
}

fn begin(shim: &Shim, limit: &Limit) -> Result<u32, ShimError> {
    prepare(shim).map_err(ShimError::here("the sandbox's folder"))?;
    let reply = shim.start(limit)?;
    orphans::note(&shim.bundle.join(PROCESSES))?;
    let task = Task::reach(&reply, &shim.id, limit)?;
    // Pipes have no names but these; by them the shim opens them anew, as it would FIFOs.
    let own = std::process::id();
    let [stdin, stdout] = [0, 1].map(|number| format!("/proc/{own}/fd/{number}"));
    task.create(&shim.bundle.to_string_lossy(), &stdin, &stdout)?;
    let process = task.start()?;
    // Held before it is looked at: a number may be somebody else's as soon as its process has ended.
    let held = orphans::hold(process).map_err(|_| ShimError::Ended)?;
    task.hand_on_the_end();
    if orphans::ends(&held, Duration::ZERO) { Err(ShimError::Ended) } else { Ok(process) }
}

/// What a shim expects to find in its bundle.
fn prepare(shim: &Shim) -> io::Result<()> {
    fs::create_dir_all(shim.bundle.join("rootfs"))?;
    // containerd makes a FIFO of this and reads it. Here nobody does, and a file has no reader that could go away.
    File::create(shim.log())?;
    // A socket that nobody listens at: who reports events there is refused at once, and does not try for seconds. Ends are
    // noticed by the process.
    drop(UnixListener::bind(shim.bundle.join("events.ttrpc")));
    Ok(())
}

/// Takes away what a start that failed has left.
fn undo(shim: &Shim) {
    let limit = Limit::of(AFTER);
    let ended = orphans::end_children(&limit);
    // Where its program did not start it made nothing; and why the start failed is what matters.
    if ended && shim.answer().exists() {
        drop(shim.clear_up(&limit));
        orphans::end_children(&limit);
    }
    remove_socket(shim);
}

/// Why it failed, with what the shim had to say about that.
fn with_log(error: ShimError, shim: &Shim) -> ShimError {
    let log = String::from_utf8_lossy(&fs::read(shim.log()).unwrap_or_default()).into_owned();
    match error {
        ShimError::Gone { what, why } if !log.trim().is_empty() => {
            ShimError::Gone { what, why: format!("{why}; its log: {}", plain(&log)) }
        }
        error => error,
    }
}
