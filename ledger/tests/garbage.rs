//! Nothing here panics, whatever it is given.

use closedpaw_ledger::head::SignedHead;
use closedpaw_ledger::read::{parse, render_line};
use closedpaw_ledger::record::is_unsafe;
use closedpaw_ledger::tree::{
    Frontier, Hash, consistency_proof, inclusion_proof, root, stored_hash_count, stored_hash_index,
    verify_consistency, verify_inclusion,
};
use closedpaw_ledger::verify::{Verifier, first_difference};
use proptest::prelude::*;

fn any_hashes(most: usize) -> impl Strategy<Value = Vec<Hash>> {
    prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..most)
}

/// Sizes where things overflow, as well as any.
fn any_size() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..70,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u32..64).prop_map(|bit| (1 << bit) - 1),
        Just(u64::MAX)
    ]
}

/// Something like a log.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let head = r#"{"seq":0,"time":"2026-11-23T01:23:45.678Z","kind":"#;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(move |tail| [head.as_bytes(), &tail].concat()),
        "(\"head\",\"head\":\"closedpaw-head v1 [0-9a-f ]{0,250}\"\\}\n?|\"[a-z_]{0,40}\"[,\\}\\]\\[\":0-9a-z\\\\u\\{]{0,200}\n?)"
            .prop_map(move |tail| format!("{head}{tail}").into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_proves_nothing(
        a in any_size(), b in any_size(), proof in any_hashes(70), one: [u8; 32], other: [u8; 32],
    ) {
        let (one, other) = (Hash(one), Hash(other));
        let included = verify_inclusion(&one, a, b, &proof, &other).is_ok();
        prop_assert_eq!(included, a == 0 && b == 1 && proof.is_empty() && one == other);
        prop_assert!(verify_consistency(a, b, &proof, &one, &other).is_err());
    }

    #[test]
    fn garbage_nodes_give_a_proof_or_an_error(a in any_size(), b in any_size(), nodes in any_hashes(140)) {
        let _ = root(&nodes, a);
        let _ = inclusion_proof(&nodes, a, b);
        let _ = consistency_proof(&nodes, a, b);
        let _ = Frontier::load(&nodes, a).map(|mut frontier| frontier.append(b"x"));
        let _ = stored_hash_count(a);
        let _ = stored_hash_index(b as u32 % 200, a);
        let head = closedpaw_ledger::head::Head { size: a, root: Hash([0; 32]), time: b };
        let _ = first_difference(&nodes, &head, [&b"x"[..], b"y"]);
    }

    #[test]
    fn garbage_is_no_head(text in any::<String>(), bytes in any_bytes()) {
        let _ = text.parse::<SignedHead>();
        let _ = String::from_utf8_lossy(&bytes).parse::<SignedHead>();
        let _ = text.parse::<Hash>();
    }

    #[test]
    fn garbage_is_no_log(bytes in any_bytes(), more in any_bytes()) {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        for key in [None, Some(key)] {
            let mut verifier = Verifier::new(key, &[]).unwrap();
            let _ = verifier.push(&bytes);
            let _ = verifier.push_line(&more);
            let _ = verifier.push(&more);
            let _ = verifier.finish();
        }
    }

    #[test]
    fn garbage_can_be_shown(bytes in any_bytes()) {
        let _ = parse(&bytes);
        let shown = render_line(&bytes);
        prop_assert!(!shown.chars().any(is_unsafe), "{:?}", shown);
    }
}
