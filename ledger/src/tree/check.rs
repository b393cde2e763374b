//! Verification of proofs: needs no storage and takes any input.
//!
//! The algorithms are those of RFC 9162 §2.1.3.2 and §2.1.4.2, which spell out what RFC 6962 leaves open.
#![forbid(unsafe_code)]

use super::{Hash, empty_root, node_hash};

/// The proof does not show what it was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct NotProven;

/// Checks that `leaf` is record `seq` of the tree of `size` records with this `root`.
///
/// # Errors
/// [`NotProven`] for everything else, malformed proofs among it.
pub fn verify_inclusion(
    leaf: &Hash,
    seq: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), NotProven> {
    if seq >= size {
        return Err(NotProven);
    }
    let (mut place, mut last, mut reached) = (seq, size - 1, *leaf);
    for node in proof {
        if last == 0 {
            return Err(NotProven); // a proof longer than the tree is high
        }
        if place & 1 == 1 || place == last {
            reached = node_hash(node, &reached);
            climb_to_sibling(&mut place, &mut last);
        } else {
            reached = node_hash(&reached, node);
        }
        place >>= 1;
        last >>= 1;
    }
    if last == 0 && reached == *root { Ok(()) } else { Err(NotProven) }
}

/// Checks that the tree of `new` records with root `new_root` goes on from the tree of `old` with `old_root`.
///
/// The empty tree is the beginning of every tree; its root is checked all the same.
///
/// # Errors
/// [`NotProven`] for everything else, malformed proofs among it.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), NotProven> {
    let proven = if old > new {
        false
    } else if old == new {
        proof.is_empty() && old_root == new_root && (old != 0 || *old_root == empty_root())
    } else if old == 0 {
        proof.is_empty() && *old_root == empty_root()
    } else {
        both_roots(old, new, proof, old_root) == Some((*old_root, *new_root))
    };
    if proven { Ok(()) } else { Err(NotProven) }
}

/// The old and the new root that the proof leads to, for `0 < old < new`.
fn both_roots(old: u64, new: u64, proof: &[Hash], old_root: &Hash) -> Option<(Hash, Hash)> {
    // A perfect old tree is itself a node of the new one, and its root is left out of the proof.
    let (first, rest) = if old.is_power_of_two() { (old_root, proof) } else { proof.split_first()? };
    let (mut place, mut last) = (old - 1, new - 1);
    let ones = place.trailing_ones();
    place = place.checked_shr(ones)?;
    last = last.checked_shr(ones)?;

    let (mut reached_old, mut reached_new) = (*first, *first);
    for node in rest {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            reached_old = node_hash(node, &reached_old);
            reached_new = node_hash(node, &reached_new);
            climb_to_sibling(&mut place, &mut last);
        } else {
            reached_new = node_hash(&reached_new, node);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some((reached_old, reached_new))
}

/// At the tree's ragged right edge a node has no sibling on its own level: go up until it is a right child
/// (RFC 9162 §2.1.3.2, step 4.2.2).
fn climb_to_sibling(place: &mut u64, last: &mut u64) {
    if *place & 1 == 0 && *place != 0 {
        let up = place.trailing_zeros();
        *place >>= up;
        *last >>= up;
    }
}
