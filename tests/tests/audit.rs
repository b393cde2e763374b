//! Row K1: the log cannot be changed unnoticed, loses nothing, and stops what it cannot write.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test that cannot go on fails

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::sign::Context;
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Action, ErrorCode, encode};
use closedpaw_tests::raw::{Session, fresh_key};
use closedpaw_tests::rounds;
use closedpaw_tests::world::{World, until, word};
use ed25519_dalek::SigningKey;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A log with a few records whose head the person has seen.
fn seen() -> World {
    let world = World::new();
    let mut session = Session::open(&world.person);
    for word in ["one", "two", "three"] {
        session.act(&session.opened.exec(&["echo", word]), None).unwrap().running().finish();
    }
    drop(session);
    until("all outcomes and the end", || (world.records().of("closed").len() == 1).then_some(()));
    world.verify_audit();
    assert!(world.person.kept_head(&world.daemon_key()).is_file());
    world
}

fn put(world: &World, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(world.audit_file(), text).unwrap();
}

/// Row K1: whatever is done to the file while the daemon does not look, whoever holds a head says so.
#[test]
fn a_changed_log_does_not_verify() {
    let mut world = seen();
    world.stop();
    let good = world.audit_lines();
    let (uid, another) = (world.person.uid.to_string(), world.other.uid.to_string());
    let at =
        |kind: &str| good.iter().position(|line| line.contains(&format!("\"kind\":\"{kind}\""))).unwrap();
    let intent = good.iter().position(|line| line.contains("\"two\"")).unwrap();
    let edit = |lines: &mut Vec<String>, line: usize, from: &str, to: &str| {
        assert!(lines[line].contains(from));
        lines[line] = lines[line].replacen(from, to, 1);
    };
    type Change<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;
    // The third says which record is named: the first bad one where the log itself shows it; `None` where only the head
    // that was kept can tell, and names how far the log should have gone.
    let changes: Vec<(&str, Change<'_>, Option<usize>)> = vec![
        ("a word edited", Box::new(|l| edit(l, intent, "\"two\"", "\"own\"")), None),
        ("who it was", Box::new(|l| edit(l, at("opened"), &uid, &another)), None),
        ("a record deleted", Box::new(|l| drop(l.remove(intent))), Some(intent)),
        ("the first deleted", Box::new(|l| drop(l.remove(0))), Some(0)),
        ("two reordered", Box::new(|l| l.swap(intent, intent + 1)), Some(intent)),
        ("one twice", Box::new(|l| l.insert(intent, l[intent].clone())), Some(intent + 1)),
        ("the tail cut", Box::new(|l| l.truncate(intent)), None),
        ("everything cut", Box::new(Vec::clear), None),
        ("something else in place", Box::new(|l| l[intent] = "{}".into()), Some(intent)),
        ("the clock set back", Box::new(|l| edit(l, intent, "\"time\":\"20", "\"time\":\"19")), Some(intent)),
    ];
    for (what, change, named) in changes {
        let mut lines = good.clone();
        change(&mut lines);
        put(&world, &lines);
        world.start();
        let ran = world.ctl(&["audit", "verify"]);
        assert_eq!(ran.code, Some(70), "{what}: {ran}");
        assert!(ran.err.contains("audit-broken") || ran.err.contains("audit-rewritten"), "{what}: {ran}");
        if let Some(record) = named {
            assert!(
                ran.err.contains(&format!("record {record}")),
                "{what} should name record {record}: {ran}"
            );
        }
        // And whoever only works notices, too: each run checks the head that was kept.
        let ran = world.ctl(&["run", "-q", "--", "true"]);
        assert_eq!(ran.code, Some(70), "{what}: {ran}");
        world.stop();
    }
    // As it was, it verifies, and goes on.
    put(&world, &good);
    world.start();
    world.verify_audit();
}

/// Row K1: two logs that go on differently from one beginning: whoever saw one does not accept the other.
#[test]
fn a_forked_log_does_not_verify() {
    let mut world = seen();
    world.stop();
    let before = fs::read(world.audit_file()).unwrap();
    world.start();
    let ran = world.ctl(&["run", "-q", "--", "echo", "first"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    world.verify_audit();
    world.stop();
    let one = world.audit_lines().len();
    fs::write(world.audit_file(), before).unwrap();
    world.start();
    let session = Session::open(&world.person);
    drop(session);
    let mut session = Session::open(&world.person);
    while world.audit_lines().len() <= one {
        session.act(&session.opened.exec(&["echo", "second"]), None).unwrap().running().finish();
    }
    let ran = world.ctl(&["audit", "verify"]);
    assert_eq!(ran.code, Some(70), "longer than the one that was seen, and still not it: {ran}");
    // Somebody who never saw the other branch has nothing against this one.
    fs::remove_file(world.person.kept_head(&world.daemon_key())).unwrap();
    world.verify_audit();
}

/// Row K1: another daemon's log in place of this one's, whole and sound in itself.
#[test]
fn a_replaced_log_does_not_verify() {
    let mut world = seen();
    let mut other = seen();
    world.stop();
    other.stop();
    fs::copy(other.audit_file(), world.audit_file()).unwrap();
    world.start();
    let ran = world.ctl(&["audit", "verify"]);
    assert_eq!(ran.code, Some(70), "{ran}");
}

/// Row K1: a record that was acknowledged is there after `kill -9` in the middle of writing.
#[test]
fn killing_the_daemon_loses_no_acknowledged_record() {
    let mut world = World::new();
    let acknowledged = AtomicUsize::new(0);
    for _ in 0..rounds() {
        let most = killed_under_load(&mut world, &acknowledged);
        let written = world.records();
        assert!(
            written.len() as u64 >= most,
            "a head over {most} records was signed, {} are there",
            written.len()
        );
        let answered = written.of("asked").len() + written.of("answered").len();
        assert!(answered >= acknowledged.load(Ordering::SeqCst));
        world.start();
        world.verify_audit();
    }
    let ran = world.ctl(&["run", "-q", "--", "echo", "on"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "on\n"), "{ran}");
    world.verify_audit();
}

/// Two sessions ask and answer until the daemon is killed in the middle of it; adds what was acknowledged, and gives the
/// size of the largest log that was acknowledged.
fn killed_under_load(world: &mut World, acknowledged: &AtomicUsize) -> u64 {
    let enough = acknowledged.load(Ordering::SeqCst) + 60;
    let sessions: Vec<Session> = (0..2).map(|_| Session::open(&world.person)).collect();
    let key = world.person.key();
    std::thread::scope(|scope| {
        let asking = |session| {
            let key = &key;
            scope.spawn(move || ask_until_it_dies(session, key, acknowledged))
        };
        let writers: Vec<_> = sessions.into_iter().map(asking).collect();
        until("enough was acknowledged", || (acknowledged.load(Ordering::SeqCst) > enough).then_some(()));
        world.kill9();
        writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap()
    })
}

/// Puts a question at a time and says no to it; each is on disk before it is answered.
fn ask_until_it_dies(mut session: Session, key: &SigningKey, acknowledged: &AtomicUsize) -> u64 {
    let mut size = 0;
    for number in 0_u32.. {
        let action = session.opened.exec(&["kill-test", &number.to_string()]);
        let body = encode(&Request::Act { action, approval: None }).unwrap();
        let (_ours, theirs) = closedpaw_descriptors::stream_pair().unwrap();
        let with = [std::os::fd::AsFd::as_fd(&theirs)];
        match session.agent.try_state(&session.key, Context::Request, body, &with) {
            Some(Ok(Reply::Pending(question))) => {
                let mut no = closedpaw_tests::raw::yes(&question);
                no.granted = false;
                let no = encode(&no).unwrap();
                if session.console.try_state(key, Context::Approval, no, &[]).is_none() {
                    break;
                }
                size = session.console.head.map_or(size, |head| head.size.max(size));
                acknowledged.fetch_add(2, Ordering::SeqCst);
            }
            Some(other) => panic!("{other:?}"),
            None => break,
        }
    }
    size
}

/// Row K1: half a record at the end was never acknowledged; it is cut off, and the log says so.
#[test]
fn a_torn_last_record_is_cut_off_and_recorded() {
    let mut world = seen();
    world.stop();
    let before = fs::read(world.audit_file()).unwrap();
    // Longer than anything that is written next, so that nothing of it is left by being written over.
    let torn = [br#"{"seq":99,"time":"2026-01-0"#, [b'x'; 8192].as_slice()].concat();
    File::options().append(true).open(world.audit_file()).unwrap().write_all(&torn).unwrap();
    world.start();
    world.verify_audit();
    let after = fs::read(world.audit_file()).unwrap();
    assert!(after.starts_with(&before) && after.ends_with(b"\n"));
    let records = world.records();
    assert_eq!(world.audit_lines().len(), records.len(), "every line is a record: {}", records.tail(3));
    let recovered = records.of("recovered");
    assert_eq!(recovered.len(), 1, "{}", records.tail(5));
    assert_eq!(recovered[0]["torn_bytes"], torn.len());
}

/// Row K1: the nodes that proofs are made from are derived; without them, or with wrong ones, proofs are the same.
#[test]
fn spoilt_nodes_are_made_again() {
    let mut world = seen();
    let nodes = world.audit().join("audit.nodes");
    let spoil: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&nodes).unwrap(), &|| fs::write(&nodes, b"short").unwrap(), &|| {
            fs::write(&nodes, vec![7; 32 * 99]).unwrap()
        }];
    for spoil in spoil {
        world.stop();
        spoil();
        world.start();
        world.verify_audit();
    }
}

/// Row K1: a power cut keeps what is on the disk and nothing else. The log lies on a file system in a file; what that
/// file holds at a moment is what a disk would hold, because the kernel writes to it no sooner than to a disk.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let mut world = World::builder().stopped().build();
    let (disk, after, place) =
        (world.work().join("disk"), world.work().join("disk-after"), world.work().join("after"));
    File::create(&disk).unwrap().set_len(32 << 20).unwrap();
    assert!(Command::new("mkfs.ext4").arg("-q").arg(&disk).status().unwrap().success());
    mount(&["-o", "loop"], &disk, &world.audit());
    world.start();
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["echo", "done"]), None).unwrap().running().finish();
    // The work was done, so the intent to do it was acknowledged before.
    fs::copy(&disk, &after).unwrap();
    let acknowledged = session.agent.head.expect("a signed head").size;
    mount(&["-o", "loop"], &after, &place);
    let log = fs::read_to_string(place.join("audit.jsonl")).unwrap_or_default();
    let kept =
        log.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count() as u64;
    assert!(kept >= acknowledged, "{acknowledged} records were acknowledged, {kept} are on the disk");
    assert_eq!(log.matches(r#""kind":"intent""#).count(), 2, "the opening and the work: {log}");
    drop(session);
    world.verify_audit();
}

/// Mounts something on a folder, which is made; the world unmounts it.
fn mount(options: &[&str], what: &Path, place: &Path) {
    fs::create_dir_all(place).unwrap();
    assert!(Command::new("mount").args(options).arg(what).arg(place).status().unwrap().success());
}

/// A world whose log lies on a small disk of its own.
fn on_a_small_disk() -> World {
    let mut world = World::builder().stopped().build();
    mount(&["-t", "tmpfs", "-o", "size=800k,mode=0700"], "closedpaw-test".as_ref(), &world.audit());
    world.start();
    world.verify_audit();
    world
}

/// Takes what is left of that disk.
fn fill(world: &World) {
    let mut file = File::options().create(true).append(true).open(world.audit().join("filler")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

/// An action whose record takes some pages.
fn long_action(session: &Session) -> Action {
    let words: Vec<String> = (0..24).map(|number| format!("{number:0400}")).collect();
    let argv: Vec<&str> = std::iter::once("echo").chain(words.iter().map(String::as_str)).collect();
    session.opened.exec(&argv)
}

/// Row K1: what was kept in reserve can be lost all the same. A record that was not written whole has not happened.
#[test]
fn a_record_that_cannot_be_written_has_not_happened() {
    let mut world = on_a_small_disk();
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    until("its outcome", || (world.records().of("outcome").len() == 1).then_some(()));
    fill(&world);
    let length = fs::read(world.audit_file()).unwrap().len();
    let offset = length.next_multiple_of(4096).to_string();
    let mut punch = Command::new("fallocate");
    punch.args(["--punch-hole", "--offset", &offset, "--length", "1048576"]).arg(world.audit_file());
    assert!(punch.status().unwrap().success());
    fill(&world);
    let action = long_action(&session);
    for _ in 0..3 {
        assert_eq!(session.act(&action, None).unwrap_err().code, ErrorCode::AuditUnwritable);
    }
    assert_eq!(world.records().work().len(), 1, "{}", world.records().tail(3));
    until("nothing of it stays", || fs::read(world.audit_file()).unwrap().ends_with(b"\n").then_some(()));
    fs::remove_file(world.audit().join("filler")).unwrap();
    let (_, _, exit) = session.act(&action, None).expect("there is room again").running().finish();
    assert_eq!(exit, Exit::Status(0));
    world.verify_audit();
    drop(session);
    world.restart();
    assert!(
        world.records().of("recovered").is_empty(),
        "nothing of it was left: {}",
        world.records().tail(3)
    );
    world.verify_audit();
}

/// Row K1: when the log cannot be written, nothing is done; when it can be again, everything goes on.
#[test]
fn a_full_disk_stops_actions() {
    let mut world = on_a_small_disk();
    let mut session = Session::open(&world.person);
    // The nodes of this many records almost fill a page: they, too, find no room for the next ones.
    while world.audit_lines().len() < 56 {
        session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    }
    fill(&world);
    // Long records, so that what is kept in reserve is soon used up.
    let action = long_action(&session);
    let mut done = world.records().work().len();
    let refusal = until("an action is refused", || match session.act(&action, None) {
        Ok(acted) => {
            let (_, _, exit) = acted.running().finish();
            assert_eq!(exit, Exit::Status(0));
            done += 1;
            None
        }
        Err(refusal) => Some(refusal),
    });
    assert_eq!(refusal.code, ErrorCode::AuditUnwritable);
    for _ in 0..5 {
        assert_eq!(session.act(&action, None).unwrap_err().code, ErrorCode::AuditUnwritable);
    }
    // How the work before it ended still finds room.
    until("every outcome", || (world.records().of("outcome").len() == done).then_some(()));
    assert_eq!(world.records().work().len(), done, "what is not written is not done");
    // Neither is a session opened, nor a question put.
    let ran = world.ctl(&["run", "-q", "--", "echo", "hi"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(74), ""), "{ran}");
    assert!(ran.err.contains("audit-unwritable"), "{ran}");
    let asked = session.act(&session.opened.exec(&["touch", "/tmp/x"]), None).unwrap_err();
    assert_eq!(asked.code, ErrorCode::AuditUnwritable);

    fs::remove_file(world.audit().join("filler")).unwrap();
    let (_, _, exit) = session.act(&action, None).expect("there is room again").running().finish();
    assert_eq!(exit, Exit::Status(0));
    world.verify_audit();
    drop(session);
    world.restart();
    world.verify_audit();
}

/// Row K1: however often somebody is refused, the log grows by a bounded number of records.
#[test]
fn a_flood_of_refusals_fills_nothing() {
    let world = World::builder().second_key().build();
    let before = world.audit_lines().len();
    let mut other = world.other.raw();
    let body = encode(&Request::Status).unwrap();
    for _ in 0..2000 {
        let refused = other.try_state(&fresh_key(), Context::Request, body.clone(), &[]).unwrap();
        assert_eq!(refused.unwrap_err().code, ErrorCode::UnknownKey);
    }
    for _ in 0..200 {
        let mut raw = world.other.raw();
        raw.send_frame(&[1, 2, 3], &[]).unwrap();
        assert!(raw.receive().is_none());
    }
    let records = world.records();
    let more = &world.audit_lines()[before..];
    // Two codes, each once at once and once at the end of every minute that this took.
    assert!(more.len() <= 6, "{} records:\n{}", more.len(), records.tail(9));
    assert!(records.refused(world.other.uid, ErrorCode::UnknownKey) > 0);
    assert!(records.refused(world.other.uid, ErrorCode::Malformed) > 0);
    // The person's own work is recorded as ever.
    let ran = world.ctl(&["run", "-q", "--", "echo", "hi"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let records = world.records();
    assert_eq!(word(records.work()[0], "argv").as_deref(), Some("echo"));
    world.verify_audit();
}
