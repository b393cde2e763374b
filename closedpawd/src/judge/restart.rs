//! Going on where an earlier judge ended: sandboxes, sessions, and work whose outcome is still to be written.
#![forbid(unsafe_code)]

use super::audit::Opened;
use super::authorised::LONGEST;
use super::clock;
use super::execute::Work;
use super::memory::Memory;
use super::sandboxes::{Again, Sandbox};
use super::sessions::Session;
use super::state::State;
use crate::verbs::{self, ANSWER, Saved, Verb};
use closedpaw_descriptors::frames;
use closedpaw_ledger::record::{Entry, Recovered};
use closedpaw_protocol::kept::Kept;
use closedpaw_protocol::sign::Verifier;
use closedpaw_protocol::{ErrorCode, SandboxId, Tier, codec};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::oneshot;

/// How long a session waits for its console after a restart, in seconds.
const CONSOLE: u64 = 30;

/// A sandbox that an earlier daemon has left, or the layer of one that is gone.
pub(super) struct Left {
    id: SandboxId,
    control: Option<OwnedFd>,
    memory: Rc<Memory>,
    merged: Option<Rc<OwnedFd>>,
}

/// Reads what the launcher says first.
pub(super) fn left(launcher: &OwnedFd) -> io::Result<Vec<Left>> {
    let mut left = Vec::new();
    loop {
        let (bytes, descriptors) =
            frames::receive_packet::<ANSWER>(launcher)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
        let (id, control) = match verbs::Left::from_bytes(&bytes).map_err(io::Error::other)? {
            verbs::Left::End => return Ok(left),
            verbs::Left::Sandbox(id) => (id, Some(next()?)),
            verbs::Left::Layer(id) => (id, None),
        };
        let memory = Rc::new(Memory::new(next()?));
        left.push(Left { id, control, memory, merged: descriptors.next().map(Rc::new) });
    }
}

/// Takes back what can be, has the rest removed, and says so in the log.
pub(super) fn take_back(state: &Rc<State>, left: Vec<Left>, log: &Opened) {
    let torn = log.torn;
    let mut recovered = Recovered { torn_bytes: torn, ..Recovered::default() };
    // Of a sandbox that one command has to itself the session remembers whose it is.
    let no_session = |left: &Left| left.control.is_some() && left.memory.read().is_none();
    let (apart, left): (Vec<_>, Vec<_>) = left.into_iter().partition(no_session);
    let mut apart: BTreeMap<_, _> = apart.into_iter().map(|left| (left.id, left)).collect();
    for left in left {
        let Left { id, control, memory, merged } = left;
        let Some(control) = control else {
            end(state, id, merged.is_some_and(|merged| state.stage_left(id, memory, merged)), false);
            continue;
        };
        let before = apart.len() as u64;
        match resume(state, (id, control, Rc::clone(&memory), merged.clone()), &mut apart, &log.ended) {
            Ok(()) => recovered.taken_back += 1 + before - apart.len() as u64,
            Err(code) => {
                tracing::error!("judge: sandbox {} cannot be taken back: {code:?}", id.short());
                recovered.reaped += 1;
                if let Err(error) = memory.end() {
                    tracing::error!("judge: sandbox {}: {error}", id.short());
                }
                end(state, id, merged.is_some_and(|merged| state.stage_left(id, memory, merged)), true);
            }
        }
    }
    for left in apart.into_values() {
        recovered.reaped += 1;
        if let Err(error) = left.memory.end() {
            tracing::error!("judge: sandbox {}: {error}", left.id.short());
        }
        end(state, left.id, false, true);
    }
    if recovered.taken_back + recovered.reaped + torn > 0 {
        state.audit.note(Recovered::KIND, recovered.fields());
    }
}

/// Has the launcher end what does not come back: the sandbox if there is one, the layer if it is not kept.
fn end(state: &State, id: SandboxId, kept: bool, sandbox: bool) {
    let launcher = Rc::clone(&state.launcher);
    tokio::task::spawn_local(async move {
        if sandbox {
            let _ = launcher.order(id, Verb::Remove, &[]).await;
        }
        if !kept {
            let _ = launcher.order(id, Verb::Unmount, &[]).await;
        }
    });
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

type Parts = (SandboxId, OwnedFd, Rc<Memory>, Option<Rc<OwnedFd>>);

fn resume(
    state: &Rc<State>,
    (id, control, memory, merged): Parts,
    apart: &mut BTreeMap<SandboxId, Left>,
    ended: &BTreeSet<u64>,
) -> Result<(), ErrorCode> {
    let kept = memory.read().ok_or(ErrorCode::UnknownSession)?;
    let mut kept: Kept = codec::decode(&kept).map_err(|_| ErrorCode::UnknownSession)?;
    // How it ended was written down, and the judge killed before it could forget it.
    kept.works.retain(|(_, work)| !ended.contains(&work.intent));
    if !memory.goes_on() || kept.ended.is_some() || state.halts.hold(kept.uid) {
        return Err(ErrorCode::SessionEnded);
    }
    still_fits(&kept, state)?;
    let verifier = Verifier::new(&kept.agent).map_err(|_| ErrorCode::Malformed)?;
    let again = Again {
        id,
        control,
        memory,
        merged,
        isolation: kept.isolation,
        since: kept.since,
        blank: kept.blank,
        next: kept.next,
    };
    // What has taken the place of the session's own must be there, or nothing of it goes on.
    let restored = match kept.restored {
        Some(id) => Some(apart.remove(&id).ok_or(ErrorCode::SandboxGone)?),
        None => None,
    };
    let restored = restored.map(|left| beside(state, kept.isolation, left)).transpose()?;
    let sandbox = Sandbox::take_back(&state.launcher, again)
        .inspect_err(|_| restored.iter().for_each(|restored| restored.kill()))?;
    let session = Rc::new(Session {
        id: kept.session,
        uid: kept.uid,
        gid: kept.gid,
        agent: kept.agent,
        verifier,
        workspace: kept.workspace,
        trusted: kept.trusted,
        profile: kept.profile,
        isolation: kept.isolation,
        expires: kept.expires,
        sandbox,
        restored: RefCell::new(restored),
        saved: Cell::new(kept.saved.and_then(Saved::of_signal)),
        saving: Cell::default(),
        pool: kept.apart.then(Rc::default),
        console: Cell::new(None),
        waits: clock::seconds() + CONSOLE,
        ended: Cell::default(),
        unwanted: Cell::default(),
        connection: Cell::new(None),
        label: RefCell::new(kept.label),
        works: RefCell::new(kept.works.iter().cloned().collect()),
    });
    state.sessions.borrow_mut().insert(Rc::clone(&session));
    for (number, kept) in kept.works {
        let sandbox = match kept.apart {
            None => Some(session.current()),
            Some(id) => apart.remove(&id).and_then(|left| take_back_apart(state, &session, left)),
        };
        // One that did not come back has ended, nobody knows how.
        let ended = sandbox.as_ref().map_or_else(|| oneshot::channel().1, |sandbox| sandbox.expect(number));
        let sandbox = sandbox.unwrap_or_else(|| Rc::clone(&session.sandbox));
        let work = Work { session: Rc::clone(&session), sandbox, kept };
        tokio::task::spawn_local(work.wait(number, ended, Rc::clone(state)));
    }
    session.fill(state);
    Ok(())
}

/// A sandbox that one command of this session has to itself.
fn take_back_apart(state: &State, session: &Session, left: Left) -> Option<Rc<Sandbox>> {
    let sandbox = beside(state, session.isolation, left).ok()?;
    session.pool.as_ref()?.take_back(Rc::clone(&sandbox));
    Some(sandbox)
}

/// A sandbox without a layer of its own.
fn beside(state: &State, isolation: Tier, left: Left) -> Result<Rc<Sandbox>, ErrorCode> {
    let again = Again {
        id: left.id,
        control: left.control.ok_or(ErrorCode::SandboxGone)?,
        memory: left.memory,
        merged: None,
        isolation,
        since: clock::seconds(),
        blank: None,
        next: 0,
    };
    Sandbox::take_back(&state.launcher, again)
}
