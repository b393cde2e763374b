//! First: limits, before anything is looked at.
#![forbid(unsafe_code)]

use closedpaw_protocol::message::{Answer, Opening, Request, Signed};
use closedpaw_protocol::sign::Context;
use closedpaw_protocol::{ErrorCode, Refusal, codec};
use std::os::fd::OwnedFd;

/// A statement, by its kind.
#[derive(Debug)]
pub(super) enum Statement {
    Request(Request),
    Opening(Opening),
    Answer(Answer),
}

/// A statement that is whole, canonical, of a kind clients make, and brings no more descriptors than its kind may.
pub(super) struct Received {
    pub(super) signed: Signed,
    pub(super) statement: Statement,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Received {
    pub(super) fn new(signed: Signed, descriptors: Vec<OwnedFd>) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::from(ErrorCode::Malformed);
        let statement = match signed.context {
            Context::Request => Statement::Request(codec::decode(&signed.body).map_err(malformed)?),
            Context::Opening => Statement::Opening(codec::decode(&signed.body).map_err(malformed)?),
            Context::Approval => Statement::Answer(codec::decode(&signed.body).map_err(malformed)?),
            Context::Lease | Context::TypedWords => return Err(ErrorCode::NotAvailable.into()),
            Context::Daemon | Context::AuditHead => return Err(ErrorCode::Malformed.into()),
        };
        if descriptors.len() > most_descriptors(&statement) {
            return Err(ErrorCode::Malformed.into());
        }
        Ok(Self { signed, statement, descriptors })
    }
}

fn most_descriptors(statement: &Statement) -> usize {
    match statement {
        Statement::Request(Request::Act { action, .. }) => 1 + usize::from(action.effect.sealed().is_some()),
        Statement::Opening(Opening { workspace: Some(_), .. }) => 1,
        Statement::Opening(_) | Statement::Request(_) | Statement::Answer(_) => 0,
    }
}
