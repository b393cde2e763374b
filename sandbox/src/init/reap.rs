//! Process 1 waits for everybody: for what it started, and for orphans nobody else waits for.
#![forbid(unsafe_code)]

use super::sys;
use closedpaw_protocol::stream::Exit;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use tokio::sync::oneshot;

/// Hands out how processes ended.
#[derive(Default)]
pub(super) struct Reaper {
    waiting: RefCell<HashMap<i32, oneshot::Sender<Exit>>>,
}

impl Reaper {
    /// Starts to reap in the background.
    pub(super) fn start() -> io::Result<Rc<Self>> {
        let child = sys::child_signal()?;
        let reaper = Rc::new(Self::default());
        let background = Rc::clone(&reaper);
        tokio::task::spawn_local(async move {
            while let Ok(mut ready) = child.readable().await {
                // One signal may stand for several ends, so they are all looked for however often it came.
                while ready.get_inner().read_signal().is_ok_and(|signal| signal.is_some()) {}
                ready.clear_ready();
                background.reap();
            }
        });
        Ok(reaper)
    }

    /// How the process will have ended. To be asked before control goes back to the runtime after starting it, so
    /// that it cannot have been reaped as an orphan.
    pub(super) fn ended(&self, process: i32) -> oneshot::Receiver<Exit> {
        let (tell, ended) = oneshot::channel();
        self.waiting.borrow_mut().insert(process, tell);
        ended
    }

    fn reap(&self) {
        loop {
            let (process, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(process, code)) => {
                    (process, Exit::Status(u8::try_from(code & 0xff).unwrap_or(255)))
                }
                Ok(WaitStatus::Signaled(process, signal, _)) => {
                    (process, Exit::Signal(u8::try_from(signal as i32).unwrap_or(9)))
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            if let Some(tell) = self.waiting.borrow_mut().remove(&process.as_raw()) {
                // Whoever asked may have gone.
                let _ = tell.send(exit);
            }
        }
    }
}
