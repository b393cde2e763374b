//! A head: how long the log is and the root over it, signed by the daemon.
//!
//! A signed head is one line of text wherever it goes: in the client's memory of it, in the journal, in the
//! log itself, wherever the admin sends it.
//!
//! ```text
//! closedpaw-head v1 <size> <time> <root, 64 hex digits> <signature, 128 hex digits>
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::tree::{Hash, lower_hex, verify_consistency};

/// Keeps a head's signature from ever being taken for another kind of signature by the same key.
const CONTEXT: &str = "closedpaw 2026-11 audit head v1";

/// How long the log is and the root over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many records there are.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// When the head was made, in seconds since 1970.
    pub time: u64,
}

/// A head with the daemon's signature, which is not checked until [`SignedHead::verify`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// The ed25519 signature.
    pub signature: [u8; 64],
}

/// What is wrong with a head, or with one head after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The text is not a head's one spelling.
    #[error("not a head: expected \"closedpaw-head v1 SIZE TIME ROOT SIGNATURE\"")]
    Malformed,
    /// The key is of small order: signatures under it can be made by anyone.
    #[error("the key is weak: anyone can sign under it")]
    WeakKey,
    /// The signature does not belong to this head and key.
    #[error("the signature is not the daemon's")]
    BadSignature,
    /// The newer head counts fewer records than the older one.
    #[error("the log was cut: it had {held} records and now claims {now}")]
    Cut {
        /// The size in the head held.
        held: u64,
        /// The size in the newer head.
        now: u64,
    },
    /// The newer head's log does not begin with the older head's records.
    #[error("the log was rewritten or forked: its first {held} records are not what they were")]
    Forked {
        /// The size in the head held.
        held: u64,
    },
    /// The newer head was made at an earlier time; the daemon's heads never are.
    #[error("the head is older than the one held")]
    TimeBack,
}

impl Head {
    /// The 32 bytes that are signed: a BLAKE3 key derivation over `size ‖ time ‖ root`, big-endian.
    #[must_use]
    pub fn signing_input(&self) -> [u8; 32] {
        let mut bytes = [0; 48];
        let (size, rest) = bytes.split_at_mut(8);
        let (time, root) = rest.split_at_mut(8);
        size.copy_from_slice(&self.size.to_be_bytes());
        time.copy_from_slice(&self.time.to_be_bytes());
        root.copy_from_slice(self.root.as_bytes());
        blake3::derive_key(CONTEXT, &bytes)
    }

    /// Signs the head.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        SignedHead { head: self, signature: key.sign(&self.signing_input()).to_bytes() }
    }
}

impl SignedHead {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`HeadError::WeakKey`] or [`HeadError::BadSignature`].
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), HeadError> {
        if key.is_weak() {
            return Err(HeadError::WeakKey);
        }
        key.verify_strict(&self.head.signing_input(), &Signature::from_bytes(&self.signature))
            .map_err(|_| HeadError::BadSignature)
    }

    /// Checks that this head goes on from `held`: signed by the same daemon, its log the older one's with
    /// records added. What a client does with each response, and keeps this head if it holds.
    ///
    /// # Errors
    /// What is wrong: [`HeadError::Cut`] and [`HeadError::Forked`] are evidence worth keeping both heads for.
    pub fn goes_on_from(
        &self,
        held: &SignedHead,
        proof: &[Hash],
        key: &VerifyingKey,
    ) -> Result<(), HeadError> {
        held.verify(key)?;
        self.verify(key)?;
        let (old, new) = (&held.head, &self.head);
        if new.size < old.size {
            return Err(HeadError::Cut { held: old.size, now: new.size });
        }
        verify_consistency(old.size, new.size, proof, &old.root, &new.root)
            .map_err(|_| HeadError::Forked { held: old.size })?;
        if new.time < old.time { Err(HeadError::TimeBack) } else { Ok(()) }
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { size, root, time } = &self.head;
        write!(f, "closedpaw-head v1 {size} {time} {root} {}", hex::encode(self.signature))
    }
}

impl FromStr for SignedHead {
    type Err = HeadError;

    /// Reads the one spelling that [`fmt::Display`] writes, and nothing else.
    fn from_str(text: &str) -> Result<SignedHead, HeadError> {
        let parts: Vec<&str> = text.splitn(7, ' ').collect();
        let &["closedpaw-head", "v1", size, time, root, signature] = parts.as_slice() else {
            return Err(HeadError::Malformed);
        };
        Ok(SignedHead {
            head: Head {
                size: decimal(size).ok_or(HeadError::Malformed)?,
                root: root.parse().map_err(|_| HeadError::Malformed)?,
                time: decimal(time).ok_or(HeadError::Malformed)?,
            },
            signature: lower_hex(signature).ok_or(HeadError::Malformed)?,
        })
    }
}

/// A number without sign or leading zero, so that it has one spelling.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn head() -> Head {
        Head { size: 3, root: Hash([0xab; 32]), time: 1_795_392_000 }
    }

    /// Input and signature from BLAKE3's and RFC 8032's definitions, written out in another language.
    #[test]
    fn a_head_is_signed_as_the_page_says() {
        let input = "736ff2b3ce217c6f082bff66d134f4d4ac98f82064e13bdfde88de2a9eeebfa0";
        assert_eq!(hex::encode(head().signing_input()), input);
        let line = "closedpaw-head v1 3 1795392000 \
            abababababababababababababababababababababababababababababababab \
            22630e0c4f1b871387ff277db8883c0392e4309239c4d64b857bd7892a3b9ff9\
            7bbda98dcaed146f1def940790e861dde03913b4872a69b605783fb528d2c00e";
        assert_eq!(head().sign(&key()).to_string(), line);
    }

    #[test]
    fn every_field_is_signed() {
        let signed = head().sign(&key());
        assert_eq!(signed.verify(&key().verifying_key()), Ok(()));
        for other in [
            Head { size: 4, ..head() },
            Head { time: head().time + 1, ..head() },
            Head { root: Hash([0xac; 32]), ..head() },
        ] {
            let forged = SignedHead { head: other, ..signed };
            assert_eq!(forged.verify(&key().verifying_key()), Err(HeadError::BadSignature));
        }
    }

    /// Under the identity point (y = 1) the signature `R = identity, s = 0` holds for every message.
    #[test]
    fn weak_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let key = VerifyingKey::from_bytes(&identity).unwrap();
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(SignedHead { head: head(), signature }.verify(&key), Err(HeadError::WeakKey));
    }

    #[test]
    fn a_signature_of_the_bare_bytes_is_not_a_heads() {
        let signature = key().sign(head().root.as_bytes()).to_bytes();
        let forged = SignedHead { head: head(), signature };
        assert_eq!(forged.verify(&key().verifying_key()), Err(HeadError::BadSignature));
    }

    #[test]
    fn a_head_has_one_spelling() {
        let text = head().sign(&key()).to_string();
        assert_eq!(text.parse::<SignedHead>(), Ok(head().sign(&key())));
        for bad in [
            text.to_uppercase(),
            text.replace(" 3 ", " 03 "),
            text.replace(" 3 ", " +3 "),
            text.replace(" 3 ", "  3 "),
            text.replace("v1", "v2"),
            format!("{text} "),
            format!("{text}\n"),
            format!(" {text}"),
            format!("{text}00"),
            text[..text.len() - 2].to_owned(),
        ] {
            assert_eq!(bad.parse::<SignedHead>(), Err(HeadError::Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_goes_there_and_back(size: u64, time: u64, root: [u8; 32], half: [u8; 32]) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            let signed = SignedHead { head: Head { size, root: Hash(root), time }, signature };
            prop_assert_eq!(signed.to_string().parse(), Ok(signed));
        }

        #[test]
        fn what_parses_is_what_would_be_written(text in "(closedpaw-head v1 )?[0-9a-f +]{0,220}|\\PC{0,200}") {
            if let Ok(signed) = text.parse::<SignedHead>() {
                prop_assert_eq!(signed.to_string(), text);
            }
        }
    }
}
