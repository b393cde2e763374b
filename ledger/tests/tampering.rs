//! Everything that can be done to a log behind the daemon's back, and how the check says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

mod common;

use closedpaw_ledger::chain::Chain;
use closedpaw_ledger::head::{Head, HeadError, SignedHead};
use closedpaw_ledger::record::{Fields, Kind};
use closedpaw_ledger::tree::{Hash, consistency_proof};
use closedpaw_ledger::verify::{Fault, NotLocated, Verifier, Why, first_difference};
use common::{Log, key};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

fn differs(seq: u64, size: u64) -> Result<(), Fault> {
    Err(Fault { seq, why: Why::Differs { size } })
}

#[test]
fn an_honest_log_holds() {
    let log = Log::of(9);
    let report = log.verify(&[log.heads[9], log.heads[0], log.heads[4], log.heads[4]]).unwrap();
    assert_eq!((report.records, report.root, report.held_heads), (9, log.heads[9].head.root, 4));
    assert_eq!(report.bytes, log.lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>());
    assert_eq!((report.first_ms, report.last_ms), (Some(1_795_397_026_678), Some(1_795_397_034_678)));
    assert!(report.signatures_checked);
    assert_eq!(Log::new().verify(&[]).unwrap().records, 0);
}

#[test]
fn an_edited_record_is_seen_by_whoever_holds_a_head() {
    let mut log = Log::of(9);
    log.lines[5] = log.lines[5].replace("deed 5", "deed X");
    assert_eq!(log.verify(&[log.heads[4], log.heads[8]]).map(drop), differs(4, 8));
    assert_eq!(log.verify(&[log.heads[5], log.heads[6]]).map(drop), differs(5, 6));
    assert!(log.verify(&[log.heads[5]]).is_ok(), "a head from before shows nothing of it");
}

/// The heads in the log itself are enough while the key is not the attacker's.
#[test]
fn an_edited_record_is_seen_by_the_logs_own_heads() {
    let mut log = Log::of(4);
    log.write_head(); // record 4
    log.write("deed 5");
    log.write_head(); // record 6
    assert_eq!(log.verify(&[]).unwrap().own_heads, 2);
    let mut edited = log.clone();
    edited.lines[5] = log.lines[5].replace("deed 5", "deed X");
    assert_eq!(edited.verify(&[]).map(drop), differs(4, 6));
    let mut edited = log.clone();
    edited.lines[0] = log.lines[0].replace("deed 0", "deed X");
    assert_eq!(edited.verify(&[]).map(drop), differs(0, 4));
}

#[test]
fn a_made_up_head_in_the_log_is_refused() {
    let mut log = Log::of(4);
    let thief = SigningKey::from_bytes(&[2; 32]);
    let next = log.chain.next_head(u64::MAX, &thief);
    log.lines.push(next.line);
    assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 4, why: Why::NotSigned { size: 4 } }));
}

#[test]
fn a_head_in_the_log_stands_for_the_records_before_it() {
    let mut log = Log::of(4);
    log.write_head();
    let (head, moved) = (log.lines[4].clone(), log.lines[4].replace("\"seq\":4", "\"seq\":5"));
    assert_eq!(log.verify(&[]).unwrap().own_heads, 1);
    log.lines.push(moved);
    assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 5, why: Why::HeadOutOfPlace { size: 4 } }));
    let text = log.heads[4].to_string();
    for bad in [
        head.replace(&text, "x"),
        head.replace(&text, &text.to_uppercase()),
        head.replace("\"head\":\"c", "\"h\":\"c"),
    ] {
        log.lines.truncate(4);
        log.lines.push(bad);
        assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 4, why: Why::BadHead }));
    }
}

#[test]
fn a_deleted_record_is_named() {
    for gone in 0..8 {
        let mut log = Log::of(9);
        log.lines.remove(gone);
        let why = Why::OutOfPlace { found: gone as u64 + 1 };
        assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: gone as u64, why }));
    }
}

#[test]
fn a_deleted_record_whose_gap_was_closed_is_seen_by_whoever_holds_a_head() {
    let mut log = Log::of(9);
    log.lines.remove(3);
    for (seq, line) in log.lines.iter_mut().enumerate().skip(3) {
        *line = line.replace(&format!("\"seq\":{}", seq + 1), &format!("\"seq\":{seq}"));
    }
    assert!(log.verify(&[]).is_ok(), "by itself it is a good log");
    assert_eq!(log.verify(&[log.heads[3], log.heads[7]]).map(drop), differs(3, 7));
    assert_eq!(log.verify(&[log.heads[9]]).map(drop), Err(Fault { seq: 8, why: Why::Cut { size: 9 } }));
}

#[test]
fn an_inserted_and_a_repeated_record_are_named() {
    let mut log = Log::of(9);
    log.lines.insert(4, log.lines[3].clone());
    assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 4, why: Why::OutOfPlace { found: 3 } }));
}

#[test]
fn reordered_records_are_named() {
    let mut log = Log::of(9);
    log.lines.swap(3, 6);
    assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 3, why: Why::OutOfPlace { found: 6 } }));
}

#[test]
fn reordered_and_renumbered_records_go_back_in_time() {
    let mut log = Log::of(9);
    log.lines.swap(3, 6);
    log.lines[3] = log.lines[3].replace("\"seq\":6", "\"seq\":3");
    log.lines[6] = log.lines[6].replace("\"seq\":3", "\"seq\":6");
    assert_eq!(log.verify(&[]).map(drop), Err(Fault { seq: 4, why: Why::TimeBack }));
}

#[test]
fn a_cut_tail_is_seen_by_whoever_holds_a_later_head() {
    let mut log = Log::of(9);
    log.lines.truncate(6);
    assert!(log.verify(&[log.heads[6]]).is_ok());
    let cut = Err(Fault { seq: 6, why: Why::Cut { size: 9 } });
    assert_eq!(log.verify(&[log.heads[9], log.heads[7], log.heads[2]]).map(drop), cut);
    log.lines.clear();
    assert_eq!(log.verify(&[log.heads[1]]).map(drop), Err(Fault { seq: 0, why: Why::Cut { size: 1 } }));
}

#[test]
fn a_replaced_log_is_seen_by_whoever_holds_a_head() {
    let (log, mut other) = (Log::of(9), Log::new());
    for i in 0..20 {
        other.write(&format!("nothing {i}"));
    }
    assert!(other.verify(&[]).is_ok());
    assert_eq!(other.verify(&[log.heads[1]]).map(drop), differs(0, 1));
    assert_eq!(other.verify(&[log.heads[9]]).map(drop), differs(0, 9));
}

/// The daemon's key signs both branches here: not even that helps whoever shows two people two logs.
#[test]
fn a_forked_log_is_seen_when_two_heads_meet() {
    let (mut one, mut other) = (Log::of(5), Log::of(5));
    one.write("this");
    other.write("that");
    assert!(one.verify(&[one.heads[6]]).is_ok());
    assert_eq!(one.verify(&[one.heads[5], other.heads[6]]).map(drop), differs(5, 6));
    assert_eq!(
        one.verify(&[one.heads[6], other.heads[6]]).map(drop),
        Err(Fault { seq: 0, why: Why::Forked { size: 6 } })
    );
}

#[test]
fn a_client_sees_cut_and_fork_from_heads_and_a_proof_alone() {
    let (mut log, mut fork, public) = (Log::of(5), Log::of(4), key().verifying_key());
    let held = log.heads[5];
    log.write("this");
    fork.write("that");
    fork.write("and this");
    let goes_on = |new: &SignedHead, nodes: &Vec<Hash>| {
        let proof = consistency_proof(nodes, held.head.size, new.head.size).unwrap_or_default();
        new.goes_on_from(&held, &proof, &public)
    };
    assert_eq!(goes_on(&log.heads[6], &log.nodes), Ok(()));
    assert_eq!(goes_on(&held, &log.nodes), Ok(()));
    assert_eq!(goes_on(&fork.heads[6], &fork.nodes), Err(HeadError::Forked { held: 5 }));
    assert_eq!(goes_on(&fork.heads[5], &fork.nodes), Err(HeadError::Forked { held: 5 }));
    assert_eq!(goes_on(&log.heads[4], &log.nodes), Err(HeadError::Cut { held: 5, now: 4 }));

    let thief = SigningKey::from_bytes(&[2; 32]);
    assert_eq!(goes_on(&log.heads[6].head.sign(&thief), &log.nodes), Err(HeadError::BadSignature));
    let earlier = Head { time: 1, ..log.heads[6].head }.sign(&key());
    assert_eq!(goes_on(&earlier, &log.nodes), Err(HeadError::TimeBack));
    let made_up = held.head.sign(&thief);
    let proof = consistency_proof(&log.nodes, 5, 6).unwrap();
    assert_eq!(log.heads[6].goes_on_from(&made_up, &proof, &public), Err(HeadError::BadSignature));
}

#[test]
fn a_held_head_that_the_daemon_did_not_sign_is_refused() {
    let log = Log::of(3);
    let made_up = log.heads[2].head.sign(&SigningKey::from_bytes(&[2; 32]));
    assert_eq!(log.verify(&[made_up]).map(drop), Err(Fault { seq: 2, why: Why::NotSigned { size: 2 } }));
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    assert_eq!(Verifier::new(Some(weak), &[made_up]).unwrap_err().why, Why::WeakKey);
}

/// A weak key is refused before anything is checked under it, heads or not.
#[test]
fn a_weak_daemon_key_is_refused_at_once() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    assert_eq!(Verifier::new(Some(weak), &[]).unwrap_err().why, Why::WeakKey);
}

#[test]
fn without_a_key_heads_still_have_to_agree() {
    let mut log = Log::of(3);
    log.write_head();
    let check = |log: &Log| {
        let mut verifier = Verifier::new(None, &[log.heads[4]])?;
        for line in &log.lines {
            verifier.push_line(line.as_bytes())?;
        }
        verifier.finish()
    };
    assert!(!check(&log).unwrap().signatures_checked);
    log.lines[1] = log.lines[1].replace("deed", "dead");
    assert_eq!(check(&log).map(drop), differs(0, 3));
}

/// A clock set back leaves the log in order and is written down.
#[test]
fn a_clock_that_goes_back_is_in_the_log() {
    let mut chain = Chain::new();
    let mut lines = Vec::new();
    for now in [50_000, 20_000, 60_000] {
        let next = chain.next_of(now, Kind::Started, Fields::new());
        lines.push(next.line.clone());
        chain.commit(next).unwrap();
    }
    assert!(
        lines[1].contains(r#""time":"1970-01-01T00:00:50.000Z","kind":"started","clock_back_ms":30000}"#)
    );
    assert!(Log::check(&lines, &[]).is_ok());
    assert_eq!(chain.head(10_000, &key()).head.time, 60, "a head is not older than the last record");
    lines[1] = lines[1].replace("00:00:50", "00:00:49");
    assert_eq!(Log::check(&lines, &[]).map(drop), Err(Fault { seq: 1, why: Why::TimeBack }));
}

/// `kill -9` in mid-write leaves half a line.
#[test]
fn a_torn_last_line_is_named() {
    let log = Log::of(3);
    let mut bytes = log.lines.join("\n").into_bytes();
    let whole = |bytes: &[u8]| {
        let mut verifier = Verifier::new(None, &[])?;
        verifier.push(bytes)?;
        verifier.finish()
    };
    let torn = Err(Fault { seq: 2, why: Why::Torn });
    assert_eq!(whole(&bytes).map(drop), torn, "without its line feed even a whole record was not finished");
    assert_eq!(whole(&bytes[..bytes.len() - 7]).map(drop), torn);
    bytes.push(b'\n');
    assert_eq!(whole(&bytes).unwrap().records, 3);
}

#[test]
fn the_first_fault_is_final() {
    let log = Log::of(3);
    let mut verifier = Verifier::new(None, &[]).unwrap();
    let fault = verifier.push_line(log.lines[1].as_bytes()).unwrap_err();
    assert_eq!(verifier.push_line(log.lines[0].as_bytes()), Err(fault.clone()));
    assert_eq!(verifier.finish().map(drop), Err(fault));
}

#[test]
fn lines_that_the_daemon_never_writes_are_refused() {
    let good = r#"{"seq":0,"time":"2026-11-23T01:23:45.678Z","kind":"started","a":"b"}"#;
    let check = |line: &[u8]| {
        let mut verifier = Verifier::new(None, &[]).unwrap();
        verifier.push_line(line).map_err(|fault| fault.why)
    };
    assert_eq!(check(good.as_bytes()), Ok(()));
    for (from, to, why) in [
        ("started", "some_day", None),
        ("\"a\":\"b\"", "\"a\":{\"b\":[null,1.5]}", None),
        ("{\"seq\"", " {\"seq\"", Some(Why::NotARecord)),
        ("{\"seq\"", "{ \"seq\"", Some(Why::NotARecord)),
        (":0,", ":00,", Some(Why::NotARecord)),
        (":0,", ":-0,", Some(Why::NotARecord)),
        (":0,", ":18446744073709551616,", Some(Why::NotARecord)),
        ("2026-11", "2026-13", Some(Why::NotARecord)),
        ("started", "Started", Some(Why::NotARecord)),
        ("started", "", Some(Why::NotARecord)),
        ("started\",\"a\":\"b\"}", "started\"", Some(Why::NotARecord)),
        ("started\",\"a\":\"b\"}", "started\"}}", Some(Why::NotARecord)),
        ("\"a\"", "\"kind\"", Some(Why::NotARecord)),
        ("\"a\":\"b\"", "\"a\":\"b\",\"a\":\"c\"", Some(Why::NotARecord)),
        ("\"a\"", "\"\\u0061\"", Some(Why::NotARecord)),
        ("\"b\"", "\"b", Some(Why::NotARecord)),
        ("\"b\"", "b", Some(Why::NotARecord)),
        ("\"b\"", "\"b\"}{\"seq\":1", Some(Why::NotARecord)),
        ("b", "\x1b", Some(Why::Unescaped)),
        ("b", "\0", Some(Why::Unescaped)),
        ("b", "\r", Some(Why::Unescaped)),
        ("b", "\x7f", Some(Why::Unescaped)),
        ("b", "\u{202e}", Some(Why::Unescaped)),
        ("b", "\u{9b}", Some(Why::Unescaped)),
    ] {
        let line = good.replacen(from, to, 1);
        assert_eq!(check(line.as_bytes()).err(), why, "{line:?}");
    }
    assert_eq!(check(b""), Err(Why::NotARecord));
    assert_eq!(check(&good.replace('b', "\u{fffd}").into_bytes()[..67]), Err(Why::NotUtf8));
    let padded = |n: usize| good.replace("\"b\"", &format!("\"{}\"", "b".repeat(n)));
    let most = 16 * 1024 - 1 - padded(0).len();
    assert_eq!(check(padded(most).as_bytes()), Ok(()));
    assert_eq!(check(padded(most + 1).as_bytes()), Err(Why::TooLong));
    let deep = good.replace("\"b\"", &("[".repeat(8000) + &"]".repeat(8000)));
    let _ = check(deep.as_bytes());
    let many: String = (0..34).map(|i| format!(",\"f{i}\":0")).collect();
    assert_eq!(check(good.replace(",\"a\":\"b\"", &many).as_bytes()), Err(Why::NotARecord));
}

#[test]
fn an_endless_line_takes_no_memory() {
    let mut verifier = Verifier::new(None, &[]).unwrap();
    let piece = vec![b'x'; 10_000];
    assert_eq!(verifier.push(&piece), Ok(()));
    let fault = Fault { seq: 0, why: Why::TooLong };
    assert_eq!(verifier.push(&piece), Err(fault.clone()));
    assert_eq!(verifier.push_line(Log::of(1).lines[0].as_bytes()), Err(fault.clone()));
    assert_eq!(verifier.push(b"\n"), Err(fault.clone()));
    assert_eq!(verifier.finish().map(drop), Err(fault));
}

/// The stored nodes say which of the records in doubt it is, and cannot be made to name another.
#[test]
fn the_edited_record_itself_is_found_with_the_stored_nodes() {
    let log = Log::of(21);
    let head = log.heads[21].head;
    let find = |lines: &[String], nodes: &Vec<Hash>| {
        first_difference(nodes, &head, lines.iter().map(String::as_bytes))
    };
    assert_eq!(find(&log.lines, &log.nodes), Ok(None));
    for at in 0..21 {
        let mut lines = log.lines.clone();
        lines[at] = lines[at].replace("deed", "dead");
        assert_eq!(find(&lines, &log.nodes), Ok(Some(at as u64)));
        assert_eq!(find(&log.lines[..at], &log.nodes), Ok(Some(at as u64)), "a log that ends there");

        // Nodes that were made to fit the edited log are not the head's.
        let mut forged = Log::new();
        for i in 0..21 {
            forged.write(&if i == at { format!("dead {i}") } else { format!("deed {i}") });
        }
        assert_eq!(find(&forged.lines, &forged.nodes), Err(NotLocated::NodesDiffer));
        assert_eq!(find(&log.lines, &forged.nodes), Err(NotLocated::NodesDiffer));

        // One forged leaf cannot blame the record it stands for, nor a later one for an earlier.
        let mut blamed = log.nodes.clone();
        let place = closedpaw_ledger::tree::stored_hash_index(0, at as u64).unwrap();
        blamed[place as usize].0[0] ^= 1;
        assert_eq!(find(&log.lines, &blamed), Err(NotLocated::NodesDiffer));
        let mut late = lines.clone();
        late[20] = late[20].replace("deed", "dead");
        blamed[place as usize] = closedpaw_ledger::tree::leaf_hash(lines[at].as_bytes());
        if at < 20 {
            assert_eq!(find(&late, &blamed), Err(NotLocated::NodesDiffer));
        }
    }
}

#[test]
fn a_record_drawn_up_elsewhere_is_not_committed() {
    let mut log = Log::of(2);
    let stale = log.chain.next_of(0, Kind::Stop, Fields::new());
    log.write("first");
    let before = log.chain.clone();
    assert!(log.chain.commit(stale).is_err());
    assert_eq!(log.chain, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any one byte of any record changed: whoever holds a head over that record says so.
    #[test]
    fn no_changed_byte_goes_unseen(at: prop::sample::Index, bit in 0u8..8) {
        let log = Log::of(6);
        let mut bytes = (log.lines.join("\n") + "\n").into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let changed = bytes[..at].iter().filter(|&&b| b == b'\n').count() as u64;
        let mut verifier = Verifier::new(Some(key().verifying_key()), &log.heads).unwrap();
        let verdict = verifier.push(&bytes).and_then(|()| verifier.finish().map(drop));
        // With a head at every size, the one bad record is named.
        prop_assert_eq!(verdict.unwrap_err().seq, changed);
    }

    #[test]
    fn how_the_file_is_cut_into_pieces_makes_no_difference(cuts in prop::collection::vec(1usize..400, 1..40)) {
        let log = Log::of(8);
        let bytes = (log.lines.join("\n") + "\n").into_bytes();
        let mut verifier = Verifier::new(None, &log.heads).unwrap();
        let (mut rest, mut cuts) = (&bytes[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            prop_assert_eq!(verifier.push(piece), Ok(()));
            rest = after;
        }
        prop_assert_eq!(verifier.finish(), log.verify(&log.heads).map(|report| {
            closedpaw_ledger::verify::Report { signatures_checked: false, ..report }
        }));
    }
}
