//! Identifiers: fixed-size, compared and never interpreted.
#![forbid(unsafe_code)]

use bincode::{Decode, Encode};
use std::fmt;
use std::str::FromStr;

/// The text was not the expected number of lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits")]
pub struct IdError {
    expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { expected: $bytes * 2 };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error);
                }
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| error)?;
                Ok(Self(bytes))
            }
        }

        impl $name {
            /// The first eight hexadecimal digits: enough for a person to tell two apart, never to decide.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }
    };
}

id!(
    /// One session: an agent key, a workspace, a label. Chosen by the judge, unguessable.
    SessionId, 16
);
id!(
    /// One sandbox. Chosen by the judge; also the name under which the runtime knows it.
    SandboxId, 16
);
id!(
    /// One open question. Unguessable, so that naming it proves having been told of it.
    ApprovalId, 16
);
id!(
    /// BLAKE3, 256 bits.
    Digest, 32
);
id!(
    /// A public key (ed25519, RFC 8032), which is also its own name.
    KeyId, 32
);
id!(
    /// A state of the policy: the digest of every loaded file. An approval is for one revision.
    Revision, 32
);
id!(
    /// 32 random bytes that one side makes for one connection; the other's signatures cover them.
    Challenge, 32
);

impl Digest {
    /// The plain BLAKE3 hash of an input (a file's content, standard input).
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_round_trips_through_its_text() {
        let id = SessionId([0xab; 16]);
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
    }

    #[test]
    fn only_the_canonical_text_is_an_id() {
        let upper = "AB".repeat(16);
        for wrong in ["", "ab", "zz", upper.as_str(), &"ab".repeat(17)] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }

    /// The BLAKE3 test vector for the empty input.
    #[test]
    fn digest_is_blake3() {
        let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), expected);
    }
}
