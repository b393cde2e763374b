//! Row S4: a sandbox that was taken over speaks to its relay; that relay ends alone and tells nothing untrue.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::action::Stdin;
use closedpaw_protocol::stream::{Exit, Kind};
use closedpaw_protocol::{Effect, ErrorCode};
use closedpaw_tests::hostile::{ACK, DATA, FIN, Hostile, PING, RST, SYN, WINDOW, framed, yamux};
use closedpaw_tests::raw::Session;
use closedpaw_tests::world::{World, field, prefix, until};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn relay() -> PathBuf {
    prefix().join("libexec/closedpaw/closedpaw-relay")
}

/// The five bytes with which the sandbox counts as gone.
const GONE: [u8; 5] = [6, 0, 0, 0, 0];

/// What the judge and the client are told when init says this after an order: both the same, and nothing else.
fn told(what: &str, limit: u64, says: &[&[u8]]) -> ([u8; 5], Vec<u8>) {
    let mut hostile = Hostile::past_the_gate(&relay());
    let mut work = hostile.grant(limit);
    for bytes in says {
        hostile.data(work.stream, ACK, bytes);
    }
    let record = hostile.record().unwrap_or_else(|| panic!("{what}: no record"));
    assert_eq!(
        (record[0], &record[1..9]),
        (1, &work.number.to_be_bytes()[..]),
        "{what}: an end, of this work"
    );
    let exit: [u8; 5] = record[9..14].try_into().unwrap();
    let (output, last) = work.told();
    assert_eq!(u64::from_be_bytes(record[22..30].try_into().unwrap()), output.len() as u64, "{what}");
    assert_eq!(last.as_deref(), Some(&exit[..]), "{what}: the client hears the same");
    (exit, output)
}

#[test]
fn an_honest_end_is_told_as_it_is() {
    let (exit, output) =
        told("honest", 1000, &[&framed(16, b"out"), &framed(17, b"err"), &framed(18, &[0, 0, 0, 0, 7])]);
    assert_eq!((exit, output.as_slice()), ([0, 0, 0, 0, 7], &b"outerr"[..]));
}

/// Exit codes out of range, and the ends that only the relay can know of.
#[test]
fn an_exit_that_is_none_counts_as_a_sandbox_that_has_gone() {
    for payload in [
        &[0, 0, 0, 1, 0][..],
        &[0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0x80, 0, 0, 0],
        &[1, 0, 0, 0, 0],
        &[1, 0, 0, 0, 65],
        &[2, 0, 0, 0, 0],
        &[2, 0, 0, 0x10, 0],
        &[2, 0xff, 0xff, 0xff, 0xff],
        &[3, 0, 0, 0, 0],
        &[4, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0],
        &[6, 0, 0, 0, 0],
        &[7, 0, 0, 0, 0],
        &[8, 0, 0, 0, 0],
        &[255, 255, 255, 255, 255],
        &[],
        &[0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(told(&format!("{payload:?}"), 1000, &[&framed(18, payload)]).0, GONE, "{payload:?}");
    }
}

/// Frames that are not init's to send, too long, or of no kind.
#[test]
fn a_frame_that_is_not_inits_counts_as_a_sandbox_that_has_gone() {
    for kind in [0, 1, 2, 3, 4, 19, 5, 15, 20, 99, 255] {
        assert_eq!(told(&format!("kind {kind}"), 1000, &[&framed(kind, &[0; 4])]).0, GONE, "{kind}");
    }
    // 64 KiB and one byte; four gigabytes, of which nothing may be waited for or allocated.
    for header in [[16, 0, 1, 0, 1], [16, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(told(&format!("{header:?}"), 1000, &[&header]).0, GONE);
    }
}

#[test]
fn nothing_counts_after_the_exit() {
    let says = [
        framed(16, b"before"),
        framed(18, &[0, 0, 0, 0, 0]),
        framed(16, b"after"),
        framed(18, &[0, 0, 0, 0, 9]),
    ]
    .concat();
    let (exit, output) = told("after the exit", 1000, &[&says]);
    assert_eq!((exit, output.as_slice()), ([0; 5], &b"before"[..]));
}

#[test]
fn output_is_cut_at_the_grant() {
    let (exit, output) = told("limit", 10, &[&framed(16, b"12345678"), &framed(17, b"90abc")]);
    assert_eq!((exit, output.as_slice()), ([4, 0, 0, 0, 0], &b"1234567890"[..]));
}

/// Half a frame, then the stream's end or reset.
#[test]
fn a_stream_that_breaks_off_counts_as_a_sandbox_that_has_gone() {
    for flags in [FIN, RST] {
        let mut hostile = Hostile::past_the_gate(&relay());
        let mut work = hostile.grant(1000);
        hostile.data(work.stream, ACK, &[16, 0, 0, 0, 9, b'h']);
        hostile.send(&yamux(WINDOW, flags, work.stream, 0, &[]));
        let record = hostile.record().expect("a record");
        assert_eq!(record[9..14], GONE);
        assert_eq!(work.told(), (vec![], Some(GONE.to_vec())));
    }
}

/// A sandbox that the kernel ends for a limit takes its channel with it; which limit it was is what the kernel has counted meanwhile,
/// and is told before the relay ends.
#[test]
fn a_sandbox_that_reached_a_limit_is_told_by_the_limits_name() {
    let memory =
        |oom: u32, kill: u32| format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kill}\noom_group_kill 0\n");
    let pids = |max: u32| format!("max {max}\n");
    let folder = std::env::temp_dir().join(format!("closedpaw-test-counts-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    for (what, after, exit) in [
        ("memory", [memory(2, 1), pids(4)], [7, 0, 0, 0, 0]),
        ("processes", [memory(1, 0), pids(5)], [8, 0, 0, 0, 0]),
        ("neither", [memory(1, 0), pids(4)], GONE),
        ("the machine's memory", [memory(1, 1), pids(4)], GONE),
    ] {
        let paths = ["memory.events", "pids.events"].map(|name| folder.join(name));
        for (path, text) in paths.iter().zip([memory(1, 0), pids(4)]) {
            fs::write(path, text).unwrap();
        }
        let counts = paths.each_ref().map(|path| fs::File::open(path).unwrap());
        let mut hostile = Hostile::past_the_gate(&relay());
        let mut work = hostile.grant_with(1000, &counts.each_ref().map(AsFd::as_fd));
        for (path, text) in paths.iter().zip(after) {
            fs::write(path, text).unwrap();
        }
        // Init has gone: nobody writes to the channel any more.
        hostile.to_relay = None;
        let record = hostile.record().unwrap_or_else(|| panic!("{what}: no record"));
        assert_eq!(record[9..14], exit, "{what}");
        assert_eq!(work.told(), (vec![], Some(exit.to_vec())), "{what}");
        hostile.must_end(what);
    }
    fs::remove_dir_all(folder).unwrap();
}

/// What breaks the channel itself ends that relay, by its own hand and soon.
#[test]
fn a_broken_channel_ends_its_relay() {
    let random: Vec<u8> =
        (1..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("random bytes", random),
        ("another version", [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0].to_vec()),
        ("no such type", yamux(9, 0, 1, 0, &[])),
        ("a stream that init opens", yamux(WINDOW, SYN, 2, 0, &[])),
        ("a stream with data that init opens", yamux(DATA, SYN, 2, 5, &[0, 0, 0, 0, 0])),
    ];
    for (what, bytes) in cases {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&bytes);
        hostile.must_end(what);
        assert_eq!(hostile.record(), None, "{what}: nothing more is recorded");
    }
    for (what, half) in [("half a header", 7), ("half a payload", 20)] {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&yamux(DATA, ACK, 1, 100, &[0; 100])[..half]);
        hostile.to_relay = None;
        hostile.must_end(what);
        assert_eq!(hostile.record(), None, "{what}");
    }
}

/// What yamux may answer with a word of its own: the relay ends, or it goes on as if nothing had been said.
#[test]
fn a_fault_of_the_protocol_changes_nothing() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a stream with the relay's number", yamux(WINDOW, SYN, 5, 0, &[])),
        ("a stream that was never opened", yamux(DATA, SYN, 4_000_000_000, 0, &[])),
        ("a frame of four gigabytes", yamux(DATA, ACK, 1, u32::MAX, &[0; 64])),
        ("go away", yamux(3, 0, 0, 0, &[])),
        ("go away, with a reason that is none", yamux(3, 0, 0, 77, &[])),
    ];
    for (what, bytes) in cases {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&bytes);
        if hostile.ends_within(Duration::from_millis(300)) {
            hostile.must_end(what);
            assert_eq!(hostile.record(), None, "{what}: nothing more is recorded");
            continue;
        }
        let mut work = hostile.grant(1000);
        hostile.data(work.stream, ACK, &framed(18, &[0, 0, 0, 0, 3]));
        let record = hostile.record().unwrap_or_else(|| panic!("{what}: no record"));
        assert_eq!(record[9..14], [0, 0, 0, 0, 3], "{what}");
        assert_eq!(work.told().1, Some(vec![0, 0, 0, 0, 3]), "{what}");
    }
}

/// The gate's answer has one form.
#[test]
fn a_gate_that_is_none_ends_its_relay_without_a_record() {
    for answer in [
        framed(19, &[]),
        framed(19, &[0, 0, 1]),
        framed(19, &[0, 0, 0, 1, 0xff]),
        framed(18, &[0, 0, 0, 0, 0]),
        framed(16, b"hello"),
        vec![19, 0xff, 0xff, 0xff, 0xff],
        vec![77, 0, 0, 0, 4, 0, 0, 1, 0xff],
    ] {
        let mut hostile = Hostile::start(&relay());
        hostile.answer_gate(&answer);
        hostile.must_end(&format!("{answer:?}"));
        assert_eq!(hostile.record(), None, "{answer:?}");
    }
    let mut hostile = Hostile::start(&relay());
    hostile.to_relay = None;
    hostile.must_end("no answer");
    assert_eq!(hostile.record(), None);
}

/// 10^6 streams, and as many pings whose answers nobody reads: neither fills memory.
#[test]
fn floods_end_the_relay_or_wait() {
    let mut hostile = Hostile::past_the_gate(&relay());
    let many: Vec<u8> = (1..=1000_u32).flat_map(|number| yamux(WINDOW, SYN, number * 2, 0, &[])).collect();
    let mut to = hostile.to_relay.as_ref().unwrap().try_clone().unwrap();
    let flood = std::thread::spawn(move || (0..1000).all(|_| to.write_all(&many).is_ok()));
    until("the relay hangs up", || flood.is_finished().then_some(()));
    assert!(!flood.join().unwrap(), "the relay hangs up");
    hostile.must_end("a flood of streams");

    let hostile = Hostile::past_the_gate(&relay());
    let relay = hostile.relay.id();
    let pings: Vec<u8> = (0..1000_u32).flat_map(|number| yamux(PING, SYN, 0, number, &[])).collect();
    // The writer waits for ever once the relay takes no more; it goes when the relay is killed.
    let mut to = hostile.to_relay.as_ref().unwrap().try_clone().unwrap();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let flood = std::thread::spawn(move || {
        for _ in 0..1000 {
            if to.write_all(&pings).is_err() {
                return;
            }
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let (mut before, mut still) = (usize::MAX, 0);
    until("the flood is over or waits", || {
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        (flood.is_finished() || still > 200).then_some(())
    });
    if Path::new(&format!("/proc/{relay}/status")).exists() && !field(relay, "State:").starts_with('Z') {
        let kilobytes: u64 = field(relay, "VmRSS:").trim_end_matches(" kB").trim().parse().unwrap();
        assert!(kilobytes < 64 << 10, "{kilobytes} kB after {before}000 pings");
    }
    drop(hostile);
    flood.join().unwrap();
}

/// As many commands as there may be at a time, one of which says much to somebody who does not listen: all others are heard,
/// again and again, and hear.
#[test]
fn a_reader_who_does_not_listen_delays_nobody() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let much = session.opened.exec(&["head", "-c", "1G", "/dev/zero"]);
    let mut stalled = session.act(&much, None).unwrap().running();
    stalled.order().unwrap();
    assert!(matches!(stalled.hear(), Some((Kind::Stdout, _))), "it says the first of it");
    let mut echo = session.opened.exec(&["cat"]);
    let Effect::Exec { stdin, .. } = &mut echo.effect else { unreachable!() };
    *stdin = Stdin::Live;
    let mut others: Vec<_> = (0..63).map(|_| session.act(&echo, None).unwrap().running()).collect();
    assert_eq!(session.act(&echo, None).map(drop).unwrap_err().code, ErrorCode::Busy);
    others.iter_mut().for_each(|other| other.order().unwrap());
    for round in 0..3 {
        for (number, other) in others.iter_mut().enumerate() {
            let word = format!("{round} of {number}");
            other.say(Kind::Stdin, word.as_bytes()).unwrap();
            assert_eq!(other.hear(), Some((Kind::Stdout, word.into_bytes())));
        }
    }
    drop(others);
    until("there is room again", || session.act(&echo, None).ok());
    // What was not read until now is all there still: a pipe's worth and more, up to the grant's bound.
    assert!(matches!(stalled.hear(), Some((Kind::Stdout, _))));
    world.verify_audit();
}

/// The relays that a world's launcher has started.
fn relays(world: &World) -> BTreeSet<u32> {
    let is = |process: &u32| {
        fs::read_to_string(format!("/proc/{process}/comm"))
            .is_ok_and(|name| name.starts_with("closedpaw-relay"))
    };
    world.processes().into_iter().filter(is).collect()
}

/// The relay as the launcher starts it, beside a sandbox that works.
#[test]
fn a_relay_can_do_nothing_but_its_work() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let done = session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    assert_eq!(done.2, Exit::Status(0));
    let relay = until("the relay runs", || relays(&world).pop_first());
    until("it has confined itself", || (field(relay, "Seccomp:") == "2").then_some(()));
    let uids = field(relay, "Uid:");
    for uid in uids.split_whitespace().chain(field(relay, "Gid:").split_whitespace()) {
        let uid: u32 = uid.parse().unwrap();
        assert!((1_900_000_000..1_900_001_024).contains(&uid), "{uids}");
    }
    assert_eq!(field(relay, "Groups:"), "");
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(relay, set), "0000000000000000", "{set}");
    }
    assert_eq!((field(relay, "NoNewPrivs:"), field(relay, "Threads:")), ("1".to_owned(), "1".to_owned()));
    // Not dumpable: what lies under /proc of such a process is root's (proc_pid(5)).
    assert_eq!(fs::metadata(format!("/proc/{relay}/mem")).unwrap().uid(), 0);
    for entry in fs::read_dir(format!("/proc/{relay}/fd")).unwrap().flatten() {
        let number = entry.file_name().into_string().unwrap();
        let to = fs::read_link(entry.path()).unwrap().display().to_string();
        let known = ["pipe:", "socket:", "anon_inode:", "/dev/null"].iter().any(|kind| to.starts_with(kind));
        // Standard error is the journal.
        assert!(known || number == "2", "{number}: {to}");
    }
    world.verify_audit();
}

/// A relay that dies takes its own sandbox and no other.
#[test]
fn a_relays_end_is_its_own_sandboxs_alone() {
    let mut world = World::new();
    let mut one = Session::open(&world.person);
    assert_eq!(one.act(&one.opened.exec(&["true"]), None).unwrap().running().finish().2, Exit::Status(0));
    let first = relays(&world);
    assert_eq!(first.len(), 1);
    let mut two = Session::open(&world.person);
    assert_eq!(two.act(&two.opened.exec(&["true"]), None).unwrap().running().finish().2, Exit::Status(0));
    let relay = first.first().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &relay]).status().unwrap().success());
    until("its relay is gone", || (relays(&world).len() == 1).then_some(()));
    let refused = until("its session says so", || one.act(&one.opened.exec(&["true"]), None).err());
    assert_eq!(refused.code.word(), "sandbox-gone");
    assert_eq!(
        two.act(&two.opened.exec(&["echo", "here"]), None).unwrap().running().finish(),
        (b"here\n".to_vec(), vec![], Exit::Status(0))
    );
    assert!(world.is_running());
    drop((one, two));
    world.verify_audit();
}
