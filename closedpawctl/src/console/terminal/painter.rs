//! Writes pictures, one at a time, without holding anything up: a terminal can be slow, or take nothing at all.
#![forbid(unsafe_code)]

use super::raw;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// A thread that writes.
pub(super) struct Painter {
    pictures: mpsc::Sender<Vec<u8>>,
    done: oneshot::Receiver<()>,
}

impl Painter {
    /// Begins with this.
    pub(super) fn start(beginning: Vec<u8>) -> Self {
        let (pictures, mut waiting) = mpsc::channel::<Vec<u8>>(1);
        let (tell, done) = oneshot::channel();
        std::thread::spawn(move || {
            let mut there = raw::write(&beginning);
            while there && let Some(picture) = waiting.blocking_recv() {
                there = raw::write(&picture);
            }
            // Who asked may have gone.
            let _ = tell.send(());
        });
        Self { pictures, done }
    }

    /// Waits until this time and until another picture can be taken; `false` if the terminal has gone.
    pub(super) async fn free(&self, from: Instant) -> bool {
        sleep_until(from).await;
        self.pictures.reserve().await.is_ok()
    }

    /// To be called when it is [`free`](Self::free).
    pub(super) fn paint(&self, picture: Vec<u8>) {
        if !picture.is_empty() {
            let _ = self.pictures.try_send(picture);
        }
    }

    /// Waits until everything is written: the screen is in order then.
    pub(super) async fn finish(self) {
        drop(self.pictures);
        if self.done.await.is_ok() {
            raw::drawn();
        }
    }
}
