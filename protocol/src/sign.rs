//! Signatures: what is signed, in which context, by whom.
//!
//! A signature covers `BLAKE3::derive_key(context, challenge ‖ sequence ‖ body)`. The challenge is the peer's and
//! new for each connection, the sequence rises by one: a recording is worth nothing anywhere else.
#![forbid(unsafe_code)]

use crate::{Challenge, KeyId};
use bincode::{Decode, Encode};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// What kind of statement a signature makes. One made for one kind is not valid for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Context {
    /// A request, by an agent or a person's key.
    Request,
    /// The opening of a session, by an approver's key.
    Opening,
    /// The answer to one question, by an approver's key.
    Approval,
    /// A lease, by an approver's key.
    Lease,
    /// Words the person typed by hand, by an approver's key.
    TypedWords,
    /// The daemon's proof that it holds its key.
    Daemon,
    /// A head of the audit log, by the daemon's key.
    AuditHead,
}

impl Context {
    /// The BLAKE3 context string.
    pub fn string(self) -> &'static str {
        match self {
            Self::Request => "closedpaw 2026-11 request v1",
            Self::Opening => "closedpaw 2026-11 opening v1",
            Self::Approval => "closedpaw 2026-11 approval v1",
            Self::Lease => "closedpaw 2026-11 lease v1",
            Self::TypedWords => "closedpaw 2026-11 typed words v1",
            Self::Daemon => "closedpaw 2026-11 daemon v1",
            Self::AuditHead => "closedpaw 2026-11 audit head v1",
        }
    }
}

/// The statement does not hold: wrong key, wrong bytes, wrong place in the conversation, or a key too weak to mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

fn statement(context: Context, challenge: &Challenge, sequence: u64, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context.string());
    hasher.update(&challenge.0);
    hasher.update(&sequence.to_be_bytes());
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

/// Signs `body` as the `sequence`-th statement on the connection that `challenge` names.
pub fn sign(
    key: &SigningKey,
    context: Context,
    challenge: &Challenge,
    sequence: u64,
    body: &[u8],
) -> [u8; 64] {
    key.sign(&statement(context, challenge, sequence, body)).to_bytes()
}

/// A public key that can mean somebody: on the curve and of full order.
#[derive(Debug, Clone)]
pub struct Verifier(VerifyingKey);

impl Verifier {
    /// Refuses bytes that are no key, and keys under which anything verifies.
    pub fn new(id: &KeyId) -> Result<Self, BadSignature> {
        let key = VerifyingKey::from_bytes(&id.0).map_err(|_| BadSignature)?;
        if key.is_weak() { Err(BadSignature) } else { Ok(Self(key)) }
    }

    /// Checks a signature made by [`sign`], strictly (RFC 8032 with the canonical checks).
    pub fn verify(
        &self,
        context: Context,
        challenge: &Challenge,
        sequence: u64,
        body: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), BadSignature> {
        let statement = statement(context, challenge, sequence, body);
        self.0.verify_strict(&statement, &Signature::from_bytes(signature)).map_err(|_| BadSignature)
    }
}

/// The name of a private key's public half.
pub fn key_id(key: &SigningKey) -> KeyId {
    KeyId(key.verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Context; 7] = [
        Context::Request,
        Context::Opening,
        Context::Approval,
        Context::Lease,
        Context::TypedWords,
        Context::Daemon,
        Context::AuditHead,
    ];

    #[test]
    fn a_statement_holds_in_its_own_place_only() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let verifier = Verifier::new(&key_id(&key)).unwrap();
        let here = Challenge([1; 32]);
        let signature = sign(&key, Context::Request, &here, 3, b"body");
        assert!(verifier.verify(Context::Request, &here, 3, b"body", &signature).is_ok());
        for context in ALL.into_iter().filter(|context| *context != Context::Request) {
            assert!(verifier.verify(context, &here, 3, b"body", &signature).is_err(), "{context:?}");
        }
        let elsewhere = Challenge([2; 32]);
        assert!(verifier.verify(Context::Request, &elsewhere, 3, b"body", &signature).is_err());
        assert!(verifier.verify(Context::Request, &here, 4, b"body", &signature).is_err());
        assert!(verifier.verify(Context::Request, &here, 3, b"bodY", &signature).is_err());
    }

    /// The identity point is a valid encoding under which `verify` accepts a signature over anything.
    #[test]
    fn weak_keys_are_no_keys() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(Verifier::new(&KeyId(identity)).is_err());
        assert!(Verifier::new(&KeyId([0; 32])).is_err());
    }
}
