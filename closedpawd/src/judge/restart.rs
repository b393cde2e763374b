//! Going on where an earlier judge ended: sandboxes, sessions, and work whose outcome is still to be written.
#![forbid(unsafe_code)]

use super::audit::Opened;
use super::authorised::LONGEST;
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
use std::collections::BTreeSet;
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

/// Takes back what can be, has the rest removed, and says so in the log.
pub(super) fn take_back(state: &Rc<State>, left: Vec<Left>, log: &Opened) {
    let torn = log.torn;
    let mut recovered = Recovered { torn_bytes: torn, ..Recovered::default() };
    for left in left {
        let id = left.id;
        match resume(state, left, &log.ended) {
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

/// What holds for every session holds for one that comes back; and an administrator who has changed its profile wants that.
fn still_fits(kept: &Kept, state: &State) -> Result<(), ErrorCode> {
    let policy = state.policy();
    let profile = policy.profiles.get(&kept.profile).ok_or(ErrorCode::UnknownProfile)?;
    let sessions = state.sessions.borrow();
    let known = sessions.get(kept.session).is_some() || sessions.by_agent(&kept.agent).is_some();
    let now = clock::seconds();
    if profile.isolation != kept.isolation {
        Err(ErrorCode::TierMissing)
    } else if known || state.keys.borrow().get(&kept.agent).is_some() || !kept.label.is_well_formed() {
        Err(ErrorCode::Malformed)
    } else if kept.expires <= now || kept.expires > now + LONGEST {
        Err(ErrorCode::SessionEnded)
    } else {
        Ok(())
    }
}

fn resume(state: &Rc<State>, left: Left, ended: &BTreeSet<u64>) -> Result<(), ErrorCode> {
    let kept = left.memory.read().ok_or(ErrorCode::UnknownSession)?;
    let mut kept: Kept = codec::decode(&kept).map_err(|_| ErrorCode::UnknownSession)?;
    // How it ended was written down, and the judge killed before it could forget it.
    kept.works.retain(|(_, work)| !ended.contains(&work.intent));
    if !left.memory.goes_on() || state.halts.hold(kept.uid) {
        return Err(ErrorCode::SessionEnded);
    }
    still_fits(&kept, state)?;
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
