//! Which record differs, when a head shows that one does.
#![forbid(unsafe_code)]

use crate::head::Head;
use crate::tree::{
    Frontier, NodeError, ReadNodes, consistency_proof, inclusion_proof, leaf_hash, stored_hash_index,
    verify_consistency, verify_inclusion,
};

/// Why the record could not be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLocated<E> {
    /// The stored nodes are not those of the head either, so they cannot tell.
    #[error("the stored nodes do not belong to the head")]
    NodesDiffer,
    /// The stored nodes cannot be read.
    #[error(transparent)]
    Nodes(#[from] NodeError<E>),
}

/// Finds the first record of the log that is not the one `head` was made over, with the help of the nodes
/// stored at that time; `None` when all of them are. A log that ends early differs at its end.
///
/// The nodes are not trusted: what is given back is proven with them against the head alone, namely that all
/// records before it are the head's, and that its own leaf is another.
///
/// # Errors
/// [`NotLocated`] when the nodes were changed as well.
pub fn first_difference<'a, R: ReadNodes + ?Sized>(
    nodes: &R,
    head: &Head,
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<u64>, NotLocated<R::Error>> {
    let mut lines = lines.into_iter();
    let mut same = Frontier::new();
    while same.size() < head.size {
        let index = stored_hash_index(0, same.size()).ok_or(NodeError::OutOfRange)?;
        let stored = nodes.node(index).map_err(NodeError::Read)?;
        if lines.next().map(leaf_hash) != Some(stored) {
            prove_rest(nodes, head, &same, &stored)?;
            return Ok(Some(same.size()));
        }
        same.append_hash(stored, |_| {});
    }
    if same.root() == head.root { Ok(None) } else { Err(NotLocated::NodesDiffer) }
}

/// Proves that the records of `same` begin the head's log and that its next leaf is `stored`.
fn prove_rest<R: ReadNodes + ?Sized>(
    nodes: &R,
    head: &Head,
    same: &Frontier,
    stored: &crate::tree::Hash,
) -> Result<(), NotLocated<R::Error>> {
    let before = consistency_proof(nodes, same.size(), head.size)?;
    let leaf = inclusion_proof(nodes, same.size(), head.size)?;
    verify_consistency(same.size(), head.size, &before, &same.root(), &head.root)
        .and_then(|()| verify_inclusion(stored, same.size(), head.size, &leaf, &head.root))
        .map_err(|_| NotLocated::NodesDiffer)
}
