//! The tree against the certificate-transparency reference vectors, and against RFC 6962 §2.1 written down
//! a second time as the slow recursion it is defined by.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use closedpaw_ledger::tree::{
    Frontier, Hash, NodeError, NotProven, consistency_proof, empty_root, inclusion_proof, leaf_hash,
    node_hash, root, stored_hash_count, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Record, size, path.
const INCLUSION: [(u64, u64, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Old size, new size, proof.
const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn published_leaves() -> Vec<Vec<u8>> {
    LEAVES.iter().map(|leaf| hex::decode(leaf).unwrap()).collect()
}

fn numbered_leaves(n: u64) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("record {i}").into_bytes()).collect()
}

fn stored(leaves: &[Vec<u8>]) -> (Vec<Hash>, Frontier) {
    let (mut nodes, mut frontier) = (Vec::new(), Frontier::new());
    for leaf in leaves {
        nodes.extend(frontier.append(leaf));
    }
    (nodes, frontier)
}

/// RFC 6962 §2.1 as it stands there: `MTH`, `PATH`, `SUBPROOF`.
mod definition {
    use super::*;

    /// "The largest power of two smaller than n", by counting up.
    fn k(n: usize) -> usize {
        std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|k| *k < n).last().unwrap()
    }

    pub(super) fn mth(d: &[Vec<u8>]) -> Hash {
        match d {
            [] => empty_root(),
            [one] => leaf_hash(one),
            more => node_hash(&mth(&more[..k(more.len())]), &mth(&more[k(more.len())..])),
        }
    }

    pub(super) fn path(m: usize, d: &[Vec<u8>]) -> Vec<Hash> {
        if d.len() == 1 {
            return Vec::new();
        }
        let (left, right) = d.split_at(k(d.len()));
        if m < left.len() {
            [path(m, left), vec![mth(right)]].concat()
        } else {
            [path(m - left.len(), right), vec![mth(left)]].concat()
        }
    }

    pub(super) fn subproof(m: usize, d: &[Vec<u8>], whole: bool) -> Vec<Hash> {
        if m == d.len() {
            return if whole { Vec::new() } else { vec![mth(d)] };
        }
        let (left, right) = d.split_at(k(d.len()));
        if m <= left.len() {
            [subproof(m, left, whole), vec![mth(right)]].concat()
        } else {
            [subproof(m - left.len(), right, false), vec![mth(left)]].concat()
        }
    }
}

#[test]
fn roots_are_the_published_ones() {
    let leaves = published_leaves();
    for (size, expected) in ROOTS.iter().enumerate() {
        let (nodes, frontier) = stored(&leaves[..size]);
        assert_eq!(frontier.root().to_string(), *expected, "appended, size {size}");
        assert_eq!(root(&nodes, size as u64).unwrap().to_string(), *expected, "stored, size {size}");
        assert_eq!(definition::mth(&leaves[..size]).to_string(), *expected, "defined, size {size}");
    }
}

#[test]
fn inclusion_proofs_are_the_published_ones() {
    let leaves = published_leaves();
    let (nodes, _) = stored(&leaves);
    for (seq, size, path) in INCLUSION {
        let path = hashes(path);
        assert_eq!(inclusion_proof(&nodes, seq, size).unwrap(), path);
        let (leaf, root) = (leaf_hash(&leaves[seq as usize]), ROOTS[size as usize].parse().unwrap());
        assert_eq!(verify_inclusion(&leaf, seq, size, &path, &root), Ok(()));
    }
}

#[test]
fn consistency_proofs_are_the_published_ones() {
    let (nodes, _) = stored(&published_leaves());
    for (old, new, proof) in CONSISTENCY {
        let proof = hashes(proof);
        assert_eq!(consistency_proof(&nodes, old, new).unwrap(), proof);
        let (old_root, new_root) =
            (ROOTS[old as usize].parse().unwrap(), ROOTS[new as usize].parse().unwrap());
        assert_eq!(verify_consistency(old, new, &proof, &old_root, &new_root), Ok(()));
    }
}

/// Everything wrong with a proof that the reference implementation's tests think of.
#[test]
fn corrupted_inclusion_proofs_show_nothing() {
    let leaves = published_leaves();
    for (seq, size, path) in INCLUSION {
        let path = hashes(path);
        let leaf = leaf_hash(&leaves[seq as usize]);
        let root: Hash = ROOTS[size as usize].parse().unwrap();
        let other = leaf_hash(b"other");
        let refused = |leaf: &Hash, seq, size, path: &[Hash], root: &Hash, what: &str| {
            assert_eq!(verify_inclusion(leaf, seq, size, path, root), Err(NotProven), "{seq} {size}: {what}");
        };
        refused(&leaf, seq.wrapping_sub(1), size, &path, &root, "place - 1");
        refused(&leaf, seq + 1, size, &path, &root, "place + 1");
        refused(&leaf, seq ^ 2, size, &path, &root, "place ^ 2");
        refused(&leaf, seq, size * 2, &path, &root, "size * 2");
        refused(&leaf, seq, size / 2, &path, &root, "size / 2");
        refused(&leaf, seq, 0, &path, &root, "size 0");
        refused(&other, seq, size, &path, &root, "other leaf");
        refused(&leaf, seq, size, &path, &other, "other root");
        refused(&leaf, seq, size, &path, &empty_root(), "empty root");
        refused(&leaf, seq, size, &[&path[..], &[other]].concat(), &root, "a node too many at the end");
        refused(&leaf, seq, size, &[&path[..], &[root]].concat(), &root, "the root at the end");
        refused(&leaf, seq, size, &[&[other], &path[..]].concat(), &root, "a node too many at the front");
        for at in 0..path.len() {
            let mut changed = path.clone();
            changed[at].0[0] ^= 8;
            refused(&leaf, seq, size, &changed, &root, "a bit");
            let mut shorter = path.clone();
            shorter.remove(at);
            refused(&leaf, seq, size, &shorter, &root, "a node missing");
        }
    }
}

#[test]
fn corrupted_consistency_proofs_show_nothing() {
    for (old, new, proof) in CONSISTENCY.into_iter().filter(|(old, new, _)| old < new) {
        let proof = hashes(proof);
        let (old_root, new_root): (Hash, Hash) =
            (ROOTS[old as usize].parse().unwrap(), ROOTS[new as usize].parse().unwrap());
        let other = leaf_hash(b"other");
        let refused = |old, new, proof: &[Hash], old_root: &Hash, new_root: &Hash, what: &str| {
            let verdict = verify_consistency(old, new, proof, old_root, new_root);
            assert_eq!(verdict, Err(NotProven), "{old} {new}: {what}");
        };
        refused(old - 1, new, &proof, &old_root, &new_root, "old - 1");
        refused(old + 1, new, &proof, &old_root, &new_root, "old + 1");
        refused(old ^ 2, new, &proof, &old_root, &new_root, "old ^ 2");
        refused(old, new * 2, &proof, &old_root, &new_root, "new * 2");
        refused(old, new / 2, &proof, &old_root, &new_root, "new / 2");
        refused(new, old, &proof, &new_root, &old_root, "backwards");
        refused(old, new, &proof, &other, &new_root, "other old root");
        refused(old, new, &proof, &old_root, &other, "other new root");
        refused(old, new, &proof, &new_root, &old_root, "roots swapped");
        refused(old, new, &[], &old_root, &new_root, "no proof");
        for extra in [other, old_root, new_root, proof[0]] {
            refused(
                old,
                new,
                &[&proof[..], &[extra]].concat(),
                &old_root,
                &new_root,
                "a node too many at the end",
            );
            refused(
                old,
                new,
                &[&[extra], &proof[..]].concat(),
                &old_root,
                &new_root,
                "a node too many at the front",
            );
        }
        for at in 0..proof.len() {
            let mut changed = proof.clone();
            changed[at].0[0] ^= 16;
            refused(old, new, &changed, &old_root, &new_root, "a bit");
            let mut shorter = proof.clone();
            shorter.remove(at);
            refused(old, new, &shorter, &old_root, &new_root, "a node missing");
        }
    }
}

#[test]
fn equal_and_empty_trees_need_no_proof_and_take_none() {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    assert_eq!(verify_consistency(3, 3, &[], &a, &a), Ok(()));
    assert_eq!(verify_consistency(3, 3, &[], &a, &b), Err(NotProven));
    assert_eq!(verify_consistency(3, 3, &[a], &a, &a), Err(NotProven));
    assert_eq!(verify_consistency(0, 3, &[], &empty_root(), &a), Ok(()));
    assert_eq!(verify_consistency(0, 3, &[], &a, &a), Err(NotProven));
    assert_eq!(verify_consistency(0, 3, &[a], &empty_root(), &a), Err(NotProven));
    assert_eq!(verify_consistency(0, 0, &[], &empty_root(), &empty_root()), Ok(()));
    assert_eq!(verify_consistency(0, 0, &[], &a, &a), Err(NotProven));
}

/// Every proof of every size up to 70: each place, each pair of sizes.
#[test]
fn all_proofs_of_small_trees_are_the_defined_ones() {
    let leaves = numbered_leaves(70);
    let (nodes, _) = stored(&leaves);
    for size in 1..=leaves.len() {
        let d = &leaves[..size];
        let root = definition::mth(d);
        for (seq, leaf) in d.iter().enumerate() {
            let path = inclusion_proof(&nodes, seq as u64, size as u64).unwrap();
            assert_eq!(path, definition::path(seq, d));
            assert_eq!(verify_inclusion(&leaf_hash(leaf), seq as u64, size as u64, &path, &root), Ok(()));
        }
        for old in 1..=size {
            let proof = consistency_proof(&nodes, old as u64, size as u64).unwrap();
            assert_eq!(proof, definition::subproof(old, d, true));
            let old_root = definition::mth(&d[..old]);
            assert_eq!(verify_consistency(old as u64, size as u64, &proof, &old_root, &root), Ok(()));
        }
    }
}

#[test]
fn what_lies_outside_the_tree_is_an_error() {
    let (nodes, _) = stored(&numbered_leaves(5));
    assert_eq!(inclusion_proof(&nodes, 5, 5), Err(NodeError::OutOfRange));
    assert_eq!(inclusion_proof(&nodes, 0, 0), Err(NodeError::OutOfRange));
    assert_eq!(consistency_proof(&nodes, 6, 5), Err(NodeError::OutOfRange));
    assert!(matches!(root(&nodes, 6), Err(NodeError::Read(_))));
    assert!(matches!(Frontier::load(&nodes, 6), Err(NodeError::Read(_))));
    assert!(root(&nodes, u64::MAX).is_err());
}

/// A reader that counts, to hold a proof to O(log n) reads.
#[test]
fn a_proof_reads_few_nodes() {
    struct Counted<'a>(&'a Vec<Hash>, std::cell::Cell<u32>);
    impl closedpaw_ledger::tree::ReadNodes for Counted<'_> {
        type Error = closedpaw_ledger::tree::NoSuchNode;
        fn node(&self, index: u64) -> Result<Hash, Self::Error> {
            self.1.set(self.1.get() + 1);
            self.0.node(index)
        }
    }
    let size = 100_000;
    let (nodes, _) = stored(&numbered_leaves(size));
    for seq in (0..size).step_by(997) {
        let counted = Counted(&nodes, 0.into());
        inclusion_proof(&counted, seq, size).unwrap();
        consistency_proof(&counted, seq, size).unwrap();
        assert!(counted.1.get() <= 4 * 17, "{} reads for {seq}", counted.1.get());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn trees_of_any_size_are_the_defined_ones(size in 0u64..300, old in 0u64..300, seq in 0u64..300) {
        let leaves = numbered_leaves(size);
        let (nodes, frontier) = stored(&leaves);
        let root_now = definition::mth(&leaves);
        prop_assert_eq!(Some(nodes.len() as u64), stored_hash_count(size));
        prop_assert_eq!(frontier.root(), root_now);
        prop_assert_eq!(root(&nodes, size), Ok(root_now));
        prop_assert_eq!(Frontier::load(&nodes, size), Ok(frontier));
        if size > 0 {
            let seq = seq % size;
            let path = inclusion_proof(&nodes, seq, size).unwrap();
            prop_assert_eq!(&path, &definition::path(seq as usize, &leaves));
            let leaf = leaf_hash(&leaves[seq as usize]);
            prop_assert_eq!(verify_inclusion(&leaf, seq, size, &path, &root_now), Ok(()));
        }
        let old = old.min(size);
        let proof = consistency_proof(&nodes, old, size).unwrap();
        if old > 0 {
            prop_assert_eq!(&proof, &definition::subproof(old as usize, &leaves, true));
        }
        let old_root = definition::mth(&leaves[..old as usize]);
        prop_assert_eq!(verify_consistency(old, size, &proof, &old_root, &root_now), Ok(()));
    }

    /// A frontier loaded from storage goes on as the one that was never dropped.
    #[test]
    fn a_restarted_log_goes_on(before in 0u64..200, after in 0u64..100) {
        let leaves = numbered_leaves(before + after);
        let (mut nodes, _) = stored(&leaves[..before as usize]);
        let mut loaded = Frontier::load(&nodes, before).unwrap();
        for leaf in &leaves[before as usize..] {
            nodes.extend(loaded.append(leaf));
        }
        prop_assert_eq!((nodes, loaded), stored(&leaves));
    }
}
