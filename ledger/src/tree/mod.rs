//! The Merkle tree of RFC 6962 §2.1 over the log's raw lines.
//!
//! A leaf is a line without its line feed. The prefixes 0x00 and 0x01 keep a leaf from ever being taken for
//! an inner node (RFC 6962 §2.1, second-preimage resistance).
#![forbid(unsafe_code)]

mod check;
mod frontier;
mod prove;
mod store;

pub use check::{NotProven, verify_consistency, verify_inclusion};
pub use frontier::Frontier;
pub use prove::{consistency_proof, inclusion_proof, root};
pub use store::{NoSuchNode, NodeError, ReadNodes, stored_hash_count, stored_hash_index};

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A SHA-256 value: a leaf, an inner node or a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl Hash {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Hash, NotAHash> {
        lower_hex(text).map(Hash).ok_or(NotAHash)
    }
}

/// Decodes exactly `N` bytes of lower-case hexadecimal, so that a value has one spelling.
pub(crate) fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The root of a tree with no leaf: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The hash of one leaf: SHA-256(0x00 ‖ line).
#[must_use]
pub fn leaf_hash(line: &[u8]) -> Hash {
    Hash(Sha256::new_with_prefix([0x00]).chain_update(line).finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new_with_prefix([0x01]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The largest power of two smaller than `n` (RFC 6962 §2.1: `k < n <= 2k`), as its logarithm; `n` over 1.
fn split(n: u64) -> u32 {
    n.saturating_sub(1).checked_ilog2().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_is_the_largest_power_of_two_below() {
        for (n, k) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), (u64::MAX, 1 << 63)] {
            assert_eq!(1u64 << split(n), k, "split({n})");
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let text = empty_root().to_string();
        assert_eq!(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(text.parse(), Ok(empty_root()));
        for bad in [text.to_uppercase(), format!("{text}0"), text[1..].to_owned(), String::new()] {
            assert_eq!(bad.parse::<Hash>(), Err(NotAHash));
        }
    }
}
