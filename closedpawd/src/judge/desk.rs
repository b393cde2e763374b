//! What needs no decision of policy beyond who asks: reading one's own, and answering questions.
#![forbid(unsafe_code)]

use super::approved::Approved;
use super::authenticated::{Authenticated, Speaker};
use super::authorised::Deed;
use super::clock;
use super::connection::Connection;
use super::pipeline::Answer as Answered;
use super::policy::InForce;
use super::questions::{Settled, Yes};
use super::received::Statement;
use super::sandboxes::Sandbox;
use super::sessions::Session;
use super::staged::Applying;
use super::state::State;
use crate::launcher::{LIMITS, Pin, available_limits, found_device};
use closedpaw_ledger::record::{Answer as Said, Answered as AnsweredRecord, Fate};
use closedpaw_protocol::message::{Answer, Event, Head, Reply, Request, SandboxState, Stage, Status};
use closedpaw_protocol::{Devices, ErrorCode, Refusal, SessionId};
use std::rc::Rc;

/// Serves what concerns nobody but the speaker.
pub(super) async fn own(
    authenticated: Authenticated,
    connection: &Connection,
    state: &Rc<State>,
) -> Result<Answered, Refusal> {
    let Authenticated { speaker, statement, .. } = authenticated;
    let Statement::Request(request) = statement else { return Err(ErrorCode::Internal.into()) };
    let reply = match request {
        Request::Close { session } => {
            let session = own_session(&speaker, session, state)?;
            state.close(session.id, "closed");
            Reply::Done
        }
        Request::Watch => {
            state.watchers.watch(connection.id);
            Reply::Done
        }
        Request::Questions => {
            Reply::Questions(state.questions.borrow().for_person(speaker.uid, &speaker.groups))
        }
        Request::Keys => Reply::Keys(state.keys.borrow().states()),
        Request::Status => Reply::Status(status(&speaker, state)),
        Request::Resume { session } => {
            let session = own_session(&speaker, session, state)?;
            if session.console.get().is_some() {
                return Err(ErrorCode::SessionBusy.into());
            }
            session.console.set(Some(connection.id));
            tracing::info!("judge: session {}: its console is back", session.id.short());
            Reply::Done
        }
        Request::Changes { session } => {
            let layer = state.layer(speaker.uid, session)?;
            let merged = layer.merged.try_clone().map_err(|_| ErrorCode::Internal)?;
            return Ok((Reply::Changes, Some(merged)));
        }
        Request::Staged { after } => Reply::Staged(state.layers(speaker.uid, after)),
        Request::Discard { session } => {
            let layer = state.layer(speaker.uid, session)?;
            match state.sessions.borrow().get(session) {
                // It is let go when the session ends, unless more is done in it.
                Some(open) => open.unwanted.set(Some(layer.generation)),
                None => state.discard(session, Fate::Discarded, Some(speaker.key)),
            }
            Reply::Done
        }
        Request::Applied { intent, applied, refused } => {
            applied_by(&speaker, intent, (applied, refused), state).await?;
            Reply::Done
        }
        Request::Act { .. }
        | Request::Sandboxes
        | Request::Kill { .. }
        | Request::Log
        | Request::Consistency { .. }
        | Request::Apply { .. }
        | Request::Checkpoint { .. }
        | Request::Restore { .. }
        | Request::Halt { .. } => return Err(ErrorCode::Internal.into()),
    };
    Ok((reply, None))
}

/// What came of a grant that was made on this connection; said once.
async fn applied_by(
    speaker: &Speaker,
    intent: u64,
    said: (u32, u32),
    state: &State,
) -> Result<(), ErrorCode> {
    let granted_here = |grant: &Applying| grant.connection == speaker.connection;
    if !state.applying.borrow().get(&intent).is_some_and(granted_here) {
        return Err(ErrorCode::ApprovalUnknown);
    }
    let grant = state.applying.borrow_mut().remove(&intent).ok_or(ErrorCode::ApprovalUnknown)?;
    state.audit.durable(grant.outcome(intent, Some(said))).await.map(drop)
}

/// A session of the speaker's: the agent's own, or any of the person's.
fn own_session(speaker: &Speaker, id: SessionId, state: &State) -> Result<Rc<Session>, ErrorCode> {
    let session = state.sessions.borrow().get(id).filter(|session| session.uid == speaker.uid);
    let session = session.ok_or(ErrorCode::UnknownSession)?;
    match &speaker.session {
        Some(own) if own.id != id => Err(ErrorCode::UnknownSession),
        Some(_) | None => Ok(session),
    }
}

fn status(speaker: &Speaker, state: &State) -> Status {
    let policy = state.policy();
    let here = available_limits();
    let names = |limits: &[&str]| limits.iter().map(|limit| (*limit).to_owned()).collect();
    let missing: Vec<&str> = LIMITS.into_iter().filter(|limit| !here.contains(limit)).collect();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: policy.revision,
        rules: u32::try_from(policy.policy.len()).unwrap_or(u32::MAX),
        policy_error: state.policy_error.borrow().clone(),
        runtime: Pin::load(&state.paths).map(|pin| pin.to_string()).map_err(|error| error.to_string()),
        limits: names(&here),
        missing: names(&missing),
        sessions: u32::try_from(state.sessions.borrow().of_user(speaker.uid).len()).unwrap_or(u32::MAX),
        since: state.since,
        profiles: policy.profiles.keys().cloned().collect(),
        halted: state.halts.hold(speaker.uid),
        tiers: state.tiers.iter().map(|(tier, found)| (*tier, found.clone())).collect(),
        devices: devices(&policy),
    }
}

/// What there is of each device that a profile names.
fn devices(policy: &InForce) -> Vec<(String, Result<String, String>)> {
    let named: Devices =
        policy.profiles.values().flat_map(|profile| profile.devices.iter().copied()).collect();
    named.iter().map(|device| (device.name().to_owned(), found_device(device))).collect()
}

/// Serves what policy allows and what changes nothing.
pub(super) fn read(approved: Approved, state: &State) -> Result<(Answered, Option<Head>), Refusal> {
    match approved.authorised.deed {
        Deed::List => {
            let sessions = state.sessions.borrow().of_user(approved.authorised.speaker.uid);
            let policy = state.policy();
            let sandboxes = sessions.iter().flat_map(|session| sandboxes(session, &policy)).collect();
            Ok(((Reply::Sandboxes(sandboxes), None), None))
        }
        Deed::Log => {
            let file = state.audit.file().map_err(|_| ErrorCode::AuditUnwritable)?;
            Ok(((Reply::Log, Some(file.into())), None))
        }
        Deed::Consistency(size) => {
            // Without a proof, whoever holds that head sees that this log is not the one it was made over.
            let (head, proof) = state.audit.consistency(size);
            Ok(((Reply::Consistency(proof.unwrap_or_default()), None), Some(head)))
        }
        Deed::Open(_)
        | Deed::Work(_)
        | Deed::Apply(_)
        | Deed::Kill(_)
        | Deed::Checkpoint(_)
        | Deed::Restore(_)
        | Deed::Halt { .. } => Err(ErrorCode::Internal.into()),
    }
}

/// A session's own, and those of single commands.
fn sandboxes(session: &Session, policy: &InForce) -> Vec<SandboxState> {
    let restored = session.restored.borrow().clone();
    let own = match &restored {
        Some(_) => SandboxState { stage: Stage::Stopped, ..sandbox(session, &session.sandbox, policy) },
        None => sandbox(session, &session.sandbox, policy),
    };
    let restored = restored.map(|restored| sandbox(session, &restored, policy));
    let apart = session.pool.iter().flat_map(|pool| pool.all());
    let apart = apart.map(|(apart, clean)| {
        let stage = match apart.stage() {
            Stage::Ready if clean => Stage::Clean,
            stage => stage,
        };
        SandboxState { stage, ..sandbox(session, &apart, policy) }
    });
    [own].into_iter().chain(restored).chain(apart).collect()
}

fn sandbox(session: &Session, sandbox: &Sandbox, policy: &InForce) -> SandboxState {
    let profile = policy.profiles.get(&session.profile);
    let devices =
        profile.into_iter().flat_map(|profile| profile.devices.iter().map(|device| device.name().to_owned()));
    SandboxState {
        id: sandbox.id,
        session: session.id,
        isolation: sandbox.isolation,
        profile: session.profile.clone(),
        stage: sandbox.stage(),
        workspace: session.workspace.clone().unwrap_or_default(),
        running: u32::try_from(sandbox.running()).unwrap_or(u32::MAX),
        label: session.label.borrow().join(&session.sources()),
        since: sandbox.since,
        found: sandbox.found.get(),
        devices: devices.collect(),
    }
}

/// Takes a person's answer: to that question, about that action, under that policy, from somebody the rule names.
pub(super) async fn answer(authenticated: Authenticated, state: &Rc<State>) -> Result<Answered, Refusal> {
    let Authenticated { speaker, statement, .. } = authenticated;
    let Statement::Answer(answer) = statement else { return Err(ErrorCode::Internal.into()) };
    let (session, asker) = check(&answer, &speaker, state)?;
    let record = AnsweredRecord {
        session: session.0,
        uid: speaker.uid,
        id: answer.id.to_string(),
        digest: answer.digest.0,
        answer: if answer.granted { Said::Approved } else { Said::Denied },
        key: Some(speaker.key.to_string()),
    };
    state.audit.durable(record).await?;
    let yes = Yes { uid: speaker.uid, groups: speaker.groups, until: 0 };
    let settled = state.questions.borrow_mut().answer(answer.id, answer.granted, yes, clock::seconds())?;
    if settled != Settled::NotYet {
        let event = Event::Decided { id: answer.id, granted: settled == Settled::Granted };
        let session = state.sessions.borrow().get(session);
        state.watchers.tell(&event, asker, session.as_ref());
        if asker != speaker.uid {
            state.watchers.tell(&event, speaker.uid, None);
        }
    }
    Ok((Reply::Done, None))
}

fn check(answer: &Answer, speaker: &Speaker, state: &State) -> Result<(SessionId, u32), ErrorCode> {
    let questions = state.questions.borrow();
    let open = questions.get(answer.id)?;
    if !open.may_answer(speaker.uid, &speaker.groups) {
        // Whether there is such a question is none of their business.
        return Err(ErrorCode::ApprovalUnknown);
    }
    if open.question.digest != answer.digest || open.question.action.revision != answer.revision {
        return Err(ErrorCode::ApprovalMismatch);
    }
    if clock::seconds() >= open.question.until {
        return Err(ErrorCode::ApprovalExpired);
    }
    Ok((open.question.action.session, open.question.uid))
}
