//! Second: who says it.
#![forbid(unsafe_code)]

use super::clock;
use super::connection::Connection;
use super::received::{Received, Statement};
use super::sessions::Session;
use super::state::State;
use closedpaw_protocol::message::{Request, Signed};
use closedpaw_protocol::sign::Verifier;
use closedpaw_protocol::{ErrorCode, KeyId, Refusal};
use closedpaw_rules::Role;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Who speaks. Holding one proves that the key's signature was checked on this connection, in order.
pub(super) struct Speaker {
    pub(super) key: KeyId,
    pub(super) role: Role,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// The agent's session.
    pub(super) session: Option<Rc<Session>>,
    pub(super) connection: u64,
}

/// A statement whose speaker is known and may make statements of its kind.
pub(super) struct Authenticated {
    pub(super) speaker: Speaker,
    pub(super) statement: Statement,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Which way a statement goes from here.
pub(super) enum Matter {
    /// Policy decides.
    Action,
    /// It concerns nobody but the speaker.
    Own,
    /// It answers a question.
    Answer,
}

impl Received {
    /// Checks number, key, user, signature and role, in this order; the number is spent by being named.
    pub(super) fn authenticate(
        self,
        connection: &Connection,
        state: &State,
    ) -> Result<Authenticated, Refusal> {
        let Self { signed, statement, descriptors } = self;
        if connection.sequence.replace(signed.sequence.saturating_add(1)) != signed.sequence {
            return Err(ErrorCode::OutOfOrder.into());
        }
        let speaker = speaker(&signed, connection, state)?;
        if !may_say(speaker.role, &statement) {
            return Err(ErrorCode::KeyRole.into());
        }
        Ok(Authenticated { speaker, statement, descriptors })
    }
}

fn speaker(signed: &Signed, connection: &Connection, state: &State) -> Result<Speaker, Refusal> {
    let verify = |verifier: &Verifier| {
        verifier
            .verify(signed.context, &connection.challenge, signed.sequence, &signed.body, &signed.signature)
            .map_err(|_| Refusal::from(ErrorCode::BadSignature))
    };
    let known = |role, uid, session| Speaker {
        key: signed.key,
        role,
        uid,
        gid: connection.peer.gid,
        groups: connection.peer.all_groups(),
        session,
        connection: connection.id,
    };
    if let Some(enrolled) = state.keys.borrow().get(&signed.key) {
        verify(&enrolled.verifier)?;
        if enrolled.uid != connection.peer.uid {
            return Err(ErrorCode::WrongUser.into());
        }
        if enrolled.expires != 0 && clock::seconds() >= enrolled.expires {
            return Err(ErrorCode::KeyExpired.into());
        }
        return Ok(known(enrolled.role, enrolled.uid, None));
    }
    let session = state.sessions.borrow().by_agent(&signed.key).ok_or(ErrorCode::UnknownKey)?;
    verify(&session.verifier)?;
    if session.uid != connection.peer.uid {
        return Err(ErrorCode::WrongUser.into());
    }
    match session.connection.get() {
        None => session.connection.set(Some(connection.id)),
        Some(bound) if bound == connection.id => {}
        Some(_) => return Err(ErrorCode::SessionBusy.into()),
    }
    if clock::seconds() >= session.expires {
        return Err(ErrorCode::SessionEnded.into());
    }
    Ok(known(Role::Agent, session.uid, Some(session)))
}

/// Which key may say what. The agent's can ask and end its own session; everything else takes a person's.
fn may_say(role: Role, statement: &Statement) -> bool {
    let person = matches!(role, Role::Approver | Role::Admin);
    match statement {
        Statement::Request(Request::Act { .. }) => role == Role::Agent,
        Statement::Request(Request::Close { .. }) => role == Role::Agent || person,
        Statement::Request(
            Request::Watch
            | Request::Questions
            | Request::Sandboxes
            | Request::Kill { .. }
            | Request::Log
            | Request::Consistency { .. }
            | Request::Keys
            | Request::Status
            | Request::Changes { .. }
            | Request::Resume { .. }
            | Request::Staged { .. }
            | Request::Discard { .. }
            | Request::Applied { .. }
            | Request::Checkpoint { .. }
            | Request::Restore { .. }
            | Request::Halt { .. },
        ) => person,
        Statement::Opening(_) | Statement::Request(Request::Apply { .. }) => role == Role::Approver,
        Statement::Answer(_) => person,
    }
}

impl Authenticated {
    pub(super) fn matter(&self) -> Matter {
        match &self.statement {
            Statement::Request(
                Request::Act { .. }
                | Request::Sandboxes
                | Request::Kill { .. }
                | Request::Log
                | Request::Consistency { .. }
                | Request::Apply { .. }
                | Request::Checkpoint { .. }
                | Request::Restore { .. }
                | Request::Halt { .. },
            )
            | Statement::Opening(_) => Matter::Action,
            Statement::Request(
                Request::Close { .. }
                | Request::Watch
                | Request::Questions
                | Request::Keys
                | Request::Status
                | Request::Changes { .. }
                | Request::Staged { .. }
                | Request::Discard { .. }
                | Request::Applied { .. }
                | Request::Resume { .. },
            ) => Matter::Own,
            Statement::Answer(_) => Matter::Answer,
        }
    }
}
