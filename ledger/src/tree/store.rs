//! Where the nodes lie: append-only, in the order they are completed.
//!
//! Layout as in Go's checksum database (golang.org/x/mod/sumdb/tlog): leaf 0, leaf 1, their parent, leaf 2,
//! leaf 3, their parent, the parent of the parents, … Only perfect subtrees are stored, so a stored node
//! never changes and the daemon's node file is only ever appended to.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use super::Hash;

/// A place that gives back stored nodes, such as the daemon's node file. A proof asks for O(log n) of them.
pub trait ReadNodes {
    /// What can go wrong while reading.
    type Error: std::error::Error;

    /// The node at `index`, as counted by [`stored_hash_index`].
    ///
    /// # Errors
    /// Whatever the place cannot do, and an index beyond its end.
    fn node(&self, index: u64) -> Result<Hash, Self::Error>;
}

/// An index beyond the end of nodes held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {0} is not stored")]
pub struct NoSuchNode(pub u64);

impl ReadNodes for [Hash] {
    type Error = NoSuchNode;

    fn node(&self, index: u64) -> Result<Hash, NoSuchNode> {
        let at = usize::try_from(index).map_err(|_| NoSuchNode(index))?;
        self.get(at).copied().ok_or(NoSuchNode(index))
    }
}

impl ReadNodes for Vec<Hash> {
    type Error = NoSuchNode;

    fn node(&self, index: u64) -> Result<Hash, NoSuchNode> {
        self.as_slice().node(index)
    }
}

/// Why a root or a proof could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError<E = Infallible> {
    /// The record or size asked for lies outside the tree asked about.
    #[error("no such record or size in this tree")]
    OutOfRange,
    /// A stored node could not be read.
    #[error("reading a stored node: {0}")]
    Read(E),
}

/// The place of the node that covers leaves `n << level .. (n + 1) << level`; `None` beyond what 64 bits count.
#[must_use]
pub fn stored_hash_index(level: u32, n: u64) -> Option<u64> {
    // The node is completed by its last leaf, `level` places after that leaf itself.
    let last_leaf = (u128::from(n) + 1).checked_mul(1u128.checked_shl(level)?)? - 1;
    let last_leaf = u64::try_from(last_leaf).ok()?;
    stored_hash_count(last_leaf)?.checked_add(u64::from(level))
}

/// How many nodes a tree of `size` leaves has stored; `None` beyond what 64 bits count.
#[must_use]
pub fn stored_hash_count(size: u64) -> Option<u64> {
    // n + n/2 + n/4 + … = 2n - ones(n) (Legendre).
    size.checked_mul(2)?.checked_sub(u64::from(size.count_ones()))
}

/// Reads the node that covers leaves `n << level .. (n + 1) << level`.
pub(super) fn read<R: ReadNodes + ?Sized>(
    nodes: &R,
    level: u32,
    n: u64,
) -> Result<Hash, NodeError<R::Error>> {
    let index = stored_hash_index(level, n).ok_or(NodeError::OutOfRange)?;
    nodes.node(index).map_err(NodeError::Read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order itself, spelled out: every leaf, then each node it completes, lowest first.
    #[test]
    fn nodes_lie_in_the_order_they_are_completed() {
        let mut next = 0;
        for leaf in 0..1000u64 {
            assert_eq!(stored_hash_count(leaf), Some(next));
            for level in 0..=(leaf + 1).trailing_zeros() {
                assert_eq!(stored_hash_index(level, leaf >> level), Some(next));
                next += 1;
            }
        }
    }

    /// The first indices as drawn in the comment of tlog's `StoredHashIndex`: 0.0 0.1 1.0 0.2 0.3 1.1 2.0.
    #[test]
    fn the_first_places_are_tlogs() {
        let places = [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0)];
        for (index, (level, n)) in (0u64..).zip(places) {
            assert_eq!(stored_hash_index(level, n), Some(index));
        }
    }

    #[test]
    fn what_64_bits_cannot_count_has_no_place() {
        assert_eq!(stored_hash_index(64, 1), None);
        assert_eq!(stored_hash_index(u32::MAX, 0), None);
        assert_eq!(stored_hash_index(127, u64::MAX), None);
        assert_eq!(stored_hash_index(0, u64::MAX), None);
        assert_eq!(stored_hash_count(u64::MAX), None);
    }
}
