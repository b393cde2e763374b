//! Roots and proofs from stored nodes, each with O(log n) reads.
#![forbid(unsafe_code)]

use super::frontier::{fold, subtree};
use super::store::{NodeError, ReadNodes};
use super::{Hash, empty_root, split};

/// The root of the first `size` leaves.
///
/// # Errors
/// [`NodeError`] when the nodes do not reach that far or cannot be read.
pub fn root<R: ReadNodes + ?Sized>(nodes: &R, size: u64) -> Result<Hash, NodeError<R::Error>> {
    if size == 0 {
        return Ok(empty_root());
    }
    range_root(nodes, 0, size)
}

/// The proof that record `seq` stands in the tree of `size` records: `PATH(seq, D[size])`, RFC 6962 §2.1.1.
///
/// # Errors
/// [`NodeError::OutOfRange`] unless `seq < size`; [`NodeError::Read`] when a node cannot be read.
pub fn inclusion_proof<R: ReadNodes + ?Sized>(
    nodes: &R,
    seq: u64,
    size: u64,
) -> Result<Vec<Hash>, NodeError<R::Error>> {
    if seq >= size {
        return Err(NodeError::OutOfRange);
    }
    let (mut lo, mut hi, mut path) = (0, size, Vec::new());
    while hi - lo > 1 {
        let middle = lo + (1 << split(hi - lo));
        if seq < middle {
            path.push(range_root(nodes, middle, hi)?);
            hi = middle;
        } else {
            path.push(range_root(nodes, lo, middle)?);
            lo = middle;
        }
    }
    path.reverse(); // RFC order: from the leaf up
    Ok(path)
}

/// The proof that the tree of `new` records goes on from the tree of `old`: `PROOF(old, D[new])`,
/// RFC 6962 §2.1.2. Empty for equal sizes and for `old == 0`, where there is nothing to prove.
///
/// # Errors
/// [`NodeError::OutOfRange`] unless `old <= new`; [`NodeError::Read`] when a node cannot be read.
pub fn consistency_proof<R: ReadNodes + ?Sized>(
    nodes: &R,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, NodeError<R::Error>> {
    if old > new {
        return Err(NodeError::OutOfRange);
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut lo, mut hi, mut proof) = (0, new, Vec::new());
    while hi != old {
        let middle = lo + (1 << split(hi - lo));
        if old <= middle {
            proof.push(range_root(nodes, middle, hi)?);
            hi = middle;
        } else {
            proof.push(range_root(nodes, lo, middle)?);
            lo = middle;
        }
    }
    // While nothing was left behind on the left, this subtree is the old tree and its root is known.
    if lo != 0 {
        proof.push(range_root(nodes, lo, hi)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The roots of the perfect subtrees of leaves `lo..hi`, largest first. `lo` is a multiple of the first one's
/// size, as everywhere in RFC 6962's recursion.
pub(super) fn perfect<R: ReadNodes + ?Sized>(
    nodes: &R,
    lo: u64,
    hi: u64,
) -> Result<Vec<Hash>, NodeError<R::Error>> {
    let (mut lo, mut subtrees) = (lo, Vec::new());
    while let Some(level) = hi.saturating_sub(lo).checked_ilog2() {
        subtrees.push(subtree(nodes, level, lo)?);
        lo += 1 << level;
    }
    Ok(subtrees)
}

/// The root over leaves `lo..hi`, which are at least one.
fn range_root<R: ReadNodes + ?Sized>(nodes: &R, lo: u64, hi: u64) -> Result<Hash, NodeError<R::Error>> {
    fold(&perfect(nodes, lo, hi)?).ok_or(NodeError::OutOfRange)
}
