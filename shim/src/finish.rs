//! Ending a sandbox, however much of it there still is.
#![forbid(unsafe_code)]

use crate::error::ShimError;
use crate::orphans;
use crate::program::{Limit, Shim};
use crate::task::Task;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

/// How long a shim may take to do what it is asked, and then its program to clear up after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries at a lock.
const PAUSE: Duration = Duration::from_millis(5);

/// Which processes the shim is, in the sandbox's folder.
pub(crate) const PROCESSES: &str = "shim-processes";

/// Ends when nothing is left of a sandbox but its folder. One that was never started is none.
pub(crate) fn delete(shim: &Shim) -> Result<(), ShimError> {
    if !shim.answer().exists() {
        return Ok(());
    }
    let limit = Limit::of(PATIENCE);
    let _alone = lock(shim, &limit)?;
    let processes = orphans::noted(&shim.bundle.join(PROCESSES));
    let politely = if processes.is_empty() { None } else { asked(shim, &limit).ok() };
    // One that was asked is about to end; another one is ended.
    let patience = if politely.is_some() { PATIENCE } else { Duration::ZERO };
    orphans::end(&processes, &Limit::of(patience));
    let cleared = if politely.is_some() { Ok(()) } else { shim.clear_up(&Limit::of(PATIENCE)) };
    remove_socket(shim);
    cleared
}

/// Has a shim that is alive end its sandbox and itself.
fn asked(shim: &Shim, limit: &Limit) -> Result<(), ShimError> {
    let task = Task::reach(&shim.reply()?, &shim.id, limit)?;
    task.kill()?;
    task.delete()?;
    task.shut_down();
    Ok(())
}

/// A shim that was killed leaves its socket, which is in a folder of all shims'.
pub(crate) fn remove_socket(shim: &Shim) {
    if let Ok(reply) = shim.reply()
        && fs::symlink_metadata(&reply.socket).is_ok_and(|found| found.file_type().is_socket())
    {
        drop(fs::remove_file(&reply.socket));
    }
}

/// One at a time has to do with a sandbox: whoever ends one waits until it is not being started any more.
pub(crate) fn lock(shim: &Shim, limit: &Limit) -> Result<File, ShimError> {
    let folder = File::open(&shim.bundle).map_err(ShimError::here("the sandbox's folder"))?;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                limit.nanoseconds("another start or end of the same sandbox")?;
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(ShimError::Here { what: "a lock", error: io::Error::from(error) }),
        }
    }
}
