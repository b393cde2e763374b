//! Going on where an earlier judge ended: sandboxes, sessions, and work whose outcome is still to be written.
#![forbid(unsafe_code)]

use super::clock;
use super::execute::Work;
use super::memory::Memory;
use super::sandboxes::Sandbox;
use super::sessions::Session;
use super::state::State;
use crate::verbs::{self, ANSWER, Verb};
use closedpaw_descriptors::frames;
use closedpaw_ledger::record::{Entry, Recovered};
use closedpaw_protocol::kept::Kept;
use closedpaw_protocol::sign::Verifier;
use closedpaw_protocol::{ErrorCode, SandboxId, codec};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// How long a session waits for its console after a restart, in seconds.
const CONSOLE: u64 = 30;

/// A sandbox that an earlier daemon has left.
pub(super) struct Left {
    pub(super) id: SandboxId,
    pub(super) control: OwnedFd,
    pub(super) memory: Memory,
    pub(super) merged: Option<OwnedFd>,
}

/// Reads what the launcher says first.
pub(super) fn left(launcher: &OwnedFd) -> io::Result<Vec<Left>> {
    let mut left = Vec::new();
    loop {
        let (bytes, descriptors) =
            frames::receive_packet::<ANSWER>(launcher)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some(id) = verbs::Left::from_bytes(&bytes).map_err(io::Error::other)?.0 else { return Ok(left) };
        let mut descriptors = descriptors.into_iter();
        let (Some(control), Some(memory)) = (descriptors.next(), descriptors.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        left.push(Left { id, control, memory: Memory::new(memory), merged: descriptors.next() });
    }
}

/// Takes back what can be, has the rest removed, and says so in the log. `torn` are the bytes of a record that was never
/// finished.
pub(super) fn take_back(state: &Rc<State>, left: Vec<Left>, torn: u64) {
    let mut recovered = Recovered { torn_bytes: torn, ..Recovered::default() };
    for left in left {
        let id = left.id;
        match resume(state, left) {
            Ok(()) => recovered.taken_back += 1,
            Err(code) => {
                tracing::error!("judge: sandbox {} cannot be taken back: {code:?}", id.short());
                recovered.reaped += 1;
                let launcher = Rc::clone(&state.launcher);
                tokio::task::spawn_local(async move { launcher.order(id, Verb::Remove, &[]).await });
            }
        }
    }
    if recovered.taken_back + recovered.reaped + torn > 0 {
        state.audit.note(Recovered::KIND, recovered.fields());
    }
}

fn resume(state: &Rc<State>, left: Left) -> Result<(), ErrorCode> {
    let kept = left.memory.read().ok_or(ErrorCode::UnknownSession)?;
    let kept: Kept = codec::decode(&kept).map_err(|_| ErrorCode::UnknownSession)?;
    let verifier = Verifier::new(&kept.agent).map_err(|_| ErrorCode::Malformed)?;
    let sandbox = Sandbox::take_back(&state.launcher, left, (kept.isolation, kept.since, kept.next))?;
    let session = Rc::new(Session {
        id: kept.session,
        uid: kept.uid,
        agent: kept.agent,
        verifier,
        workspace: kept.workspace,
        trusted: kept.trusted,
        profile: kept.profile,
        isolation: kept.isolation,
        expires: kept.expires,
        sandbox,
        console: Cell::new(None),
        waits: clock::seconds() + CONSOLE,
        connection: Cell::new(None),
        label: RefCell::new(kept.label),
        works: RefCell::new(kept.works.iter().cloned().collect()),
    });
    state.sessions.borrow_mut().insert(Rc::clone(&session));
    for (number, kept) in kept.works {
        let ended = session.sandbox.expect(number);
        let work = Work { session: Rc::clone(&session), kept };
        tokio::task::spawn_local(work.wait(number, ended, Rc::clone(state)));
    }
    Ok(())
}
