//! The judge's end of the six verbs.
#![forbid(unsafe_code)]

use crate::verbs::{ANSWER, Answer, Verb};
use closedpaw_descriptors::Packets;
use closedpaw_protocol::{ErrorCode, SandboxId};
use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use tokio::sync::oneshot;

type Outcome = Result<Vec<OwnedFd>, ErrorCode>;

/// Sends verbs and hands out their answers.
pub(super) struct Launcher {
    socket: Packets,
    waiting: RefCell<Vec<(SandboxId, Verb, oneshot::Sender<Outcome>)>>,
}

impl Launcher {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self { socket: Packets::new(socket)?, waiting: RefCell::default() }))
    }

    /// Sends one verb and waits for its answer: the descriptors that came with it, or why not.
    pub(super) async fn order(
        &self,
        sandbox: SandboxId,
        verb: Verb,
        descriptors: &[BorrowedFd<'_>],
    ) -> Outcome {
        let (tell, answer) = oneshot::channel();
        self.waiting.borrow_mut().push((sandbox, verb, tell));
        self.socket.send(&verb.to_bytes(sandbox), descriptors).await.map_err(|_| ErrorCode::Internal)?;
        answer.await.unwrap_or(Err(ErrorCode::Internal))
    }

    /// Reads answers until the launcher has gone.
    pub(super) async fn listen(&self) {
        while let Ok(Some((bytes, descriptors))) = self.socket.receive::<ANSWER>().await {
            let Ok(answer) = Answer::from_bytes(&bytes) else { return };
            let mut waiting = self.waiting.borrow_mut();
            let place = waiting.iter().position(|(sandbox, verb, _)| answer.is_for(*verb, *sandbox));
            if let Some(place) = place {
                let (_, _, tell) = waiting.remove(place);
                // Whoever asked may have gone.
                let _ = tell.send(answer.result.map(|()| descriptors));
            }
        }
    }
}
