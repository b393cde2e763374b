//! The head this person last saw, kept where root's log cannot be rewritten without this file noticing.
#![forbid(unsafe_code)]

use super::{Connection, Pinned};
use crate::failure::Failure;
use crate::places;
use closedpaw_ledger::head::{Head, SignedHead};
use closedpaw_ledger::tree::Hash;
use closedpaw_protocol::message::{self, Reply, Request};
use ed25519_dalek::VerifyingKey;
use std::fs;
use std::path::PathBuf;

/// The wire's form of a head as the ledger knows it.
pub fn of_wire(head: &message::Head) -> SignedHead {
    let message::Head { size, root, time, signature } = *head;
    SignedHead { head: Head { size, root: Hash(root), time }, signature }
}

/// The daemon's key as the ledger takes it.
pub fn key(pinned: &Pinned) -> Result<VerifyingKey, Failure> {
    VerifyingKey::from_bytes(&pinned.key.0)
        .map_err(|_| Failure::unreachable("the daemon's pinned key is no key"))
}

fn path(pinned: &Pinned) -> PathBuf {
    places::state().join(format!("head-{}", pinned.key.short()))
}

/// The head that was kept last for this daemon; one that does not parse is reported, not forgotten.
pub fn kept(pinned: &Pinned) -> Result<Option<SignedHead>, Failure> {
    let path = path(pinned);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error| Failure::file(&path, error)),
        Err(_) => Ok(None),
    }
}

/// Checks that the log still is what it was, and grows; then keeps its newest head.
pub async fn check_and_keep(
    connection: &mut Connection,
    pinned: &Pinned,
) -> Result<Option<SignedHead>, Failure> {
    let key = key(pinned)?;
    let rewritten = |error| {
        Failure::new(
            "audit-rewritten",
            70,
            format!("the audit log is not a continuation of what was seen before: {error}"),
            "somebody changed it; keep the head under your state folder and tell the machine's admin",
        )
    };
    let Some(held) = kept(pinned)? else {
        let Some(now) = connection.head().map(|head| of_wire(&head)) else { return Ok(None) };
        now.verify(&key).map_err(rewritten)?;
        keep(pinned, &now)?;
        return Ok(Some(now));
    };
    let (reply, _) = connection.request(&Request::Consistency { size: held.head.size }, &[]).await?;
    let Some(now) = connection.head().map(|head| of_wire(&head)) else { return Ok(None) };
    let Reply::Consistency(proof) = reply else { return Err(Failure::lost("another answer than a proof")) };
    let proof: Vec<Hash> = proof.into_iter().map(Hash).collect();
    now.goes_on_from(&held, &proof, &key).map_err(rewritten)?;
    keep(pinned, &now)?;
    Ok(Some(now))
}

/// Keeps a head that was checked.
pub fn keep(pinned: &Pinned, head: &SignedHead) -> Result<(), Failure> {
    let path = path(pinned);
    places::write_private(&path, format!("{head}\n").as_bytes()).map_err(|error| Failure::file(&path, error))
}
