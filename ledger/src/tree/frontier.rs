//! Appending with O(log n) memory.
#![forbid(unsafe_code)]

use super::store::{self, NodeError, ReadNodes};
use super::{Hash, empty_root, leaf_hash, node_hash};

/// The roots of the perfect subtrees that a tree is made of: all that appending and the root need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One for each set bit of `size`, the largest subtree first.
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// The frontier of the first `size` leaves, from stored nodes: how a restarted daemon goes on.
    ///
    /// # Errors
    /// [`NodeError`] when the nodes do not reach that far or cannot be read.
    pub fn load<R: ReadNodes + ?Sized>(nodes: &R, size: u64) -> Result<Frontier, NodeError<R::Error>> {
        let subtrees = super::prove::perfect(nodes, 0, size)?;
        Ok(Frontier { size, subtrees })
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends one line and gives back the nodes it completes, in the order they are stored: its leaf first.
    #[must_use = "the nodes belong into the node file"]
    pub fn append(&mut self, line: &[u8]) -> Vec<Hash> {
        let mut completed = Vec::new();
        self.append_hash(leaf_hash(line), |node| completed.push(node));
        completed
    }

    /// Appends a leaf by its hash; `completed` sees each node this completes, in the order they are stored.
    pub fn append_hash(&mut self, leaf: Hash, mut completed: impl FnMut(Hash)) {
        let mut node = leaf;
        completed(node);
        // Each trailing one of the size is a perfect subtree that this leaf makes twice as large.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.subtrees.pop() else { break };
            node = node_hash(&left, &node);
            completed(node);
        }
        self.subtrees.push(node);
        self.size = self.size.saturating_add(1); // 2^64 records are not written
    }

    /// The root of the tree: `MTH` of RFC 6962 §2.1.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.subtrees).unwrap_or_else(empty_root)
    }
}

/// The root over neighbouring perfect subtrees, largest first; `None` of none.
pub(super) fn fold(subtrees: &[Hash]) -> Option<Hash> {
    subtrees.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
}

/// Reads the perfect subtree of `1 << level` leaves that begins at `lo`.
pub(super) fn subtree<R: ReadNodes + ?Sized>(
    nodes: &R,
    level: u32,
    lo: u64,
) -> Result<Hash, NodeError<R::Error>> {
    store::read(nodes, level, lo.checked_shr(level).unwrap_or(0))
}
