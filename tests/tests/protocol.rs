//! Rows P5, P10, P11: recordings, self-declared rights, and agents that want to be somebody else.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test that cannot go on fails

use closedpaw_protocol::message::{Hello, Request};
use closedpaw_protocol::sign::{Context, key_id};
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{
    Challenge, Effect, ErrorCode, Label, SandboxVerb, Source, SourceKind, VERSION, decode, encode, frame,
};
use closedpaw_tests::raw::{Raw, Session, fresh_key, opening};
use closedpaw_tests::world::{Person, World, until};
use std::fs::File;
use std::os::fd::AsFd;

/// The first frame and everything after it.
fn cut(recording: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(recording[..4].try_into().unwrap()) as usize;
    recording.split_at(4 + length)
}

/// Plays a recording; the connection must end or refuse every statement of it.
fn play(person: &Person, recording: &[u8]) -> Option<closedpaw_protocol::Refusal> {
    let (hello, statements) = cut(recording);
    let mut raw = Raw::begin_with(person.dial().unwrap(), hello).unwrap();
    raw.bytes(statements).unwrap();
    raw.ended()
}

#[track_caller]
fn is_noted(world: &World, uid: u32, code: ErrorCode) {
    until(&format!("a record of {code} for uid {uid}"), || {
        (world.records().refused(uid, code) > 0).then_some(())
    });
}

/// Row P5: every signature covers a challenge that the daemon made for one connection.
#[test]
fn a_recorded_conversation_is_worth_nothing_anywhere_else() {
    let mut world = World::builder().second_key().build();
    let mut session = Session::open(&world.person);
    let action = session.opened.exec(&["echo", "once"]);
    session.act(&action, None).unwrap().running().finish();
    let intents = |world: &World| world.records().of("intent").len();
    assert_eq!(intents(&world), 2, "the opening and the work");
    let recordings = [session.console.sent.clone(), session.agent.sent.clone()];
    for recording in &recordings {
        play(&world.person, recording);
        play(&world.other, recording);
    }
    is_noted(&world, world.person.uid, ErrorCode::BadSignature);
    is_noted(&world, world.other.uid, ErrorCode::BadSignature);
    assert_eq!(intents(&world), 2);
    drop(session);
    world.restart();
    play(&world.person, &recordings[0]);
    // The agent's key is nobody's any more; that refusal alone does not end a connection, its silence does.
    let (hello, statements) = cut(&recordings[1]);
    let mut raw = Raw::begin_with(world.person.dial().unwrap(), hello).unwrap();
    raw.bytes(statements).unwrap();
    assert_eq!(raw.answer_to(0).unwrap().unwrap_err().code, ErrorCode::UnknownKey);
    assert_eq!(intents(&world), 2);
    world.verify_audit();
}

/// Row P5: statements come in order, each once; anything else ends the connection.
#[test]
fn statements_out_of_order_end_the_connection() {
    let world = World::new();
    let key = world.person.key();
    let body = || encode(&Request::Status).unwrap();
    for numbers in [&[1][..], &[0, 0], &[0, 2], &[0, 1, 0], &[u64::MAX], &[1, 0]] {
        let mut raw = world.raw();
        let (last, good) = numbers.split_last().unwrap();
        let good = if numbers == [1, 0] { &[][..] } else { good };
        for number in good {
            let signed = raw.signed_as(&key, Context::Request, *number, body());
            raw.send(&signed, &[]).unwrap();
            assert!(raw.answer_to(*number).unwrap().is_ok());
        }
        let first_bad = if numbers == [1, 0] { 1 } else { *last };
        let signed = raw.signed_as(&key, Context::Request, first_bad, body());
        raw.send_frame(&encode(&signed).unwrap(), &[]).unwrap();
        let refusal = raw.ended();
        assert_eq!(refusal.expect("the client is told why").code, ErrorCode::OutOfOrder, "{numbers:?}");
    }
    is_noted(&world, world.person.uid, ErrorCode::OutOfOrder);
    world.verify_audit();
}

/// Row P5: what was signed is what counts, to the last bit, in its own place and kind.
#[test]
fn a_changed_statement_ends_the_connection() {
    let world = World::new();
    let key = world.person.key();
    let halt = encode(&Request::Halt { on: true, all: true }).unwrap();
    type Change = fn(&mut closedpaw_protocol::message::Signed);
    let changes: [(&str, Change); 4] = [
        ("a body", |signed| signed.body = encode(&Request::Halt { on: false, all: true }).unwrap()),
        ("a signature", |signed| signed.signature[0] ^= 1),
        ("another signature bit", |signed| signed.signature[63] ^= 0x80),
        ("no signature", |signed| signed.signature = [0; 64]),
    ];
    for (what, change) in changes {
        let mut raw = world.raw();
        let mut signed = raw.signed(&key, Context::Request, halt.clone());
        change(&mut signed);
        raw.send(&signed, &[]).unwrap();
        assert_eq!(raw.ended().expect(what).code, ErrorCode::BadSignature, "{what}");
    }
    is_noted(&world, world.person.uid, ErrorCode::BadSignature);
    assert!(!world.status().halted);
    world.verify_audit();
}

/// Row P10 (GHSA-rqpp-rjj8-7wv8, CVE-2026-53821): what a message may say is said by its type. There is no field for a
/// role, a scope or a uid, and bytes that belong to no field end the connection, whoever signed them.
#[test]
fn bytes_that_belong_to_no_field_end_the_connection() {
    let world = World::new();
    let key = world.person.key();
    // After the request's own number in the enum come claims that nothing reads.
    let bodies: [(&str, Vec<u8>); 6] = [
        ("a byte more", vec![9, 0]),
        ("a claimed role", [&[9][..], b"\x05admin"].concat()),
        ("the request twice", vec![9, 9]),
        ("a longer way to write the same number", vec![0xfb, 0, 9]),
        ("a number that is no request", vec![200]),
        ("nothing", vec![]),
    ];
    for (what, body) in bodies {
        let mut raw = world.raw();
        let signed = raw.signed(&key, Context::Request, body);
        raw.send(&signed, &[]).unwrap();
        assert_eq!(raw.ended().expect(what).code, ErrorCode::Malformed, "{what}");
    }
    let mut raw = world.raw();
    let good = raw.try_state(&key, Context::Request, vec![9], &[]).unwrap();
    assert!(good.is_ok(), "the same without them: {good:?}");
    is_noted(&world, world.person.uid, ErrorCode::Malformed);
    world.verify_audit();
}

/// Row P10: the same for what is around the signed body, which no signature covers.
#[test]
fn a_frame_that_is_not_exactly_one_statement_ends_the_connection() {
    let world = World::new();
    let key = world.person.key();
    type Change = fn(Vec<u8>) -> Vec<u8>;
    let changes: [(&str, Change); 6] = [
        ("a byte more", |mut frame| {
            frame.push(0);
            frame
        }),
        ("a byte less", |mut frame| {
            frame.pop();
            frame
        }),
        ("two statements", |frame| [frame.clone(), frame].concat()),
        // The kind of statement is the first byte, and the number 0 stands after the 32 bytes of the key.
        ("an unknown kind", |mut frame| {
            frame[0] = 7;
            frame
        }),
        ("a longer way to write the kind", |frame| [&[0xfb, 0], &frame[..]].concat()),
        ("a longer way to write the number", |frame| [&frame[..33], &[0xfb, 0], &frame[33..]].concat()),
    ];
    for (what, change) in changes {
        let mut raw = world.raw();
        let signed = encode(&raw.signed(&key, Context::Request, vec![9])).unwrap();
        assert_eq!((signed[0], signed[33]), (0, 0), "kind and number");
        raw.send_frame(&change(signed), &[]).unwrap();
        assert!(raw.receive().is_none(), "{what}");
    }
    for kind in [Context::Daemon, Context::AuditHead] {
        let mut raw = world.raw();
        let signed = raw.signed(&key, kind, vec![9]);
        raw.send(&signed, &[]).unwrap();
        assert_eq!(
            raw.ended().expect("an answer").code,
            ErrorCode::Malformed,
            "a statement that only the daemon makes"
        );
    }
    is_noted(&world, world.person.uid, ErrorCode::Malformed);
    world.verify_audit();
}

/// Row P10: descriptors that a statement does not name end the connection, too, and more than any may have.
#[test]
fn descriptors_that_nothing_names_end_the_connection() {
    let world = World::new();
    let key = world.person.key();
    let file = File::open("/dev/null").unwrap();
    for count in [1, 4] {
        let mut raw = world.raw();
        let with = vec![file.as_fd(); count];
        let signed = raw.signed(&key, Context::Request, vec![9]);
        raw.send(&signed, &with).unwrap();
        assert_eq!(raw.ended().expect("an answer").code, ErrorCode::Malformed);
    }
    world.status();
    world.verify_audit();
}

/// A client of another version is told the daemon's and nothing else.
#[test]
fn another_version_ends_the_connection() {
    let world = World::new();
    for version in [0, VERSION + 1, u16::MAX] {
        let hello = Hello { version, challenge: Challenge([1; 32]) };
        let bytes = frame::wrap(&encode(&hello).unwrap()).unwrap();
        let mut raw =
            Raw::begin_with(world.person.dial().unwrap(), &bytes).expect("the daemon names its version");
        assert!(raw.receive().is_none());
    }
    world.verify_audit();
}

/// Row P10: an agent's key is fresh; one that is somebody's already would mix two sets of rights.
#[test]
fn an_agents_key_is_nobody_elses() {
    let world = World::builder().second_key().build();
    let session = Session::open(&world.person);
    for taken in [world.person.key(), world.other.key(), session.key.clone()] {
        let mut raw = world.raw();
        let opening = encode(&opening(&taken, None)).unwrap();
        let answer = raw.try_state(&world.person.key(), Context::Opening, opening, &[]);
        let refusal = answer.and_then(Result::err).expect("a refusal");
        assert_eq!(refusal.code, ErrorCode::Malformed);
        assert!(raw.ended().is_none());
    }
    assert_eq!(world.records().of("opened").len(), 1);
    world.verify_audit();
}

/// Row P10: a label that is no sorted set could say the same thing in two ways, or hide a source from a search.
#[test]
fn an_opening_with_a_label_out_of_order_is_refused() {
    let world = World::new();
    let source = |name: &str| Source { kind: SourceKind::Web, name: name.to_owned() };
    for untrusted in [vec![source("b"), source("a")], vec![source("a"), source("a")]] {
        let bytes = encode(&(untrusted, Vec::<Source>::new())).unwrap();
        let mut opening = opening(&fresh_key(), None);
        opening.label = decode::<Label>(&bytes).unwrap();
        let mut raw = world.raw();
        let answer = raw.try_state(&world.person.key(), Context::Opening, encode(&opening).unwrap(), &[]);
        assert_eq!(answer.and_then(Result::err).expect("a refusal").code, ErrorCode::Malformed);
    }
    assert!(world.records().of("opened").is_empty());
    world.verify_audit();
}

/// Rows P10, P11, P9: what an agent's key cannot say, whatever policy says.
#[test]
fn an_agents_key_can_ask_and_nothing_else() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let other = Session::open(&world.person);
    let (own, key) = (session.opened.clone(), session.key.clone());
    let requests = [
        Request::Watch,
        Request::Questions,
        Request::Sandboxes,
        Request::Kill { sandbox: own.sandbox },
        Request::Kill { sandbox: other.opened.sandbox },
        Request::Log,
        Request::Consistency { size: 0 },
        Request::Keys,
        Request::Status,
        Request::Changes { session: own.session },
        Request::Staged { after: None },
        Request::Discard { session: own.session },
        Request::Applied { intent: 0, applied: 1, refused: 0 },
        Request::Apply { action: own.exec(&["ls"]) },
        Request::Halt { on: true, all: true },
        Request::Halt { on: false, all: true },
    ];
    for request in requests {
        let refusal = session.agent.request(&key, &request, &[]).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::KeyRole, "{request:?}");
    }
    let refusal = session.agent.open(&key, &opening(&fresh_key(), None), None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::KeyRole);
    let effects = [
        Effect::Open { workspace: "/".into(), trusted: true },
        Effect::Sandbox { verb: SandboxVerb::Kill, id: Some(other.opened.sandbox) },
        Effect::Log,
        Effect::Admin { verb: "start".into() },
    ];
    for effect in effects {
        let refusal = session.act(&own.action(effect.clone()), None).unwrap_err();
        assert!(matches!(refusal.code, ErrorCode::KeyRole | ErrorCode::Denied), "{effect:?}: {refusal}");
        assert_eq!(refusal.detail, "", "an agent gets the code alone");
    }
    // Somebody else's session is not there for it.
    let refusal =
        session.agent.request(&key, &Request::Close { session: other.opened.session }, &[]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownSession);
    let refusal = session.act(&other.opened.exec(&["ls"]), None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownSession);
    is_noted(&world, world.person.uid, ErrorCode::KeyRole);
    assert!(world.records().work().is_empty());
    assert_eq!(world.status().sessions, 2);
    world.verify_audit();
}

/// Row P10: and a person's key does not ask in a session's name.
#[test]
fn a_persons_key_does_not_act() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let action = session.opened.exec(&["ls"]);
    let refusal = session.console.act(&world.person.key(), &action, None, None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::KeyRole);
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

/// Row P11: one agent process, one connection, one session.
#[test]
fn an_agents_key_speaks_on_one_connection() {
    let world = World::builder().second_key().build();
    let mut session = Session::open(&world.person);
    let action = session.opened.exec(&["echo", "here"]);
    session.act(&action, None).unwrap().running().finish();
    let refusal = world.raw().act(&session.key, &action, None, None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::SessionBusy);
    let refusal = world.other.raw().act(&session.key, &action, None, None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::WrongUser);
    assert_eq!(world.records().work().len(), 1);
    // The first connection has noticed nothing.
    let (out, _, _) = session.act(&action, None).unwrap().running().finish();
    assert_eq!(out, b"here\n");
    world.verify_audit();
}

/// Row P11: when either half of the client goes, the session goes, and its key means nobody.
#[test]
fn a_session_ends_with_its_console() {
    let world = World::new();
    let Session { console, mut agent, key, opened } = Session::open(&world.person);
    let action = opened.exec(&["ls"]);
    agent.act(&key, &action, None, None).unwrap().running().finish();
    drop(console);
    until("the session's end", || (world.status().sessions == 0).then_some(()));
    let refusal = agent.act(&key, &action, None, None).unwrap_err();
    assert!(matches!(refusal.code, ErrorCode::UnknownKey | ErrorCode::SessionEnded), "{refusal}");
    let Session { console: _console, agent, .. } = Session::open(&world.person);
    drop(agent);
    assert_eq!(world.records().work().len(), 1);
    world.verify_audit();
}

/// Row P11: what a session has read stands in every question of its own.
#[test]
fn a_question_carries_the_sessions_label() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let question = session.act(&session.opened.exec(&["make"]), None).unwrap().pending();
    let workspace =
        Source { kind: SourceKind::Workspace, name: world.person.workspace.display().to_string() };
    assert_eq!(question.label.untrusted(), std::slice::from_ref(&workspace));
    assert_eq!(question.label.private(), std::slice::from_ref(&workspace));
    assert_eq!(question.workspace, workspace.name);
    assert_eq!(question.uid, world.person.uid);

    let mut vouched = Session::open_with(&world.person, |opening| opening.trusted = true);
    let question = vouched.act(&vouched.opened.exec(&["make"]), None).unwrap().pending();
    assert_eq!(question.label.untrusted(), []);
    assert_eq!(question.label.private(), [workspace]);
    world.verify_audit();
}

/// Rows P11, I1: the label comes along. What history or memory brought in is asked about as if it had been read here.
#[test]
fn what_the_session_brings_along_counts_as_read() {
    let world = World::new();
    world.person.write("notes", b"notes\n");
    let page = Source { kind: SourceKind::Web, name: "evil.example".to_owned() };
    let mut clean = Session::open(&world.person);
    let mut tainted =
        Session::open_with(&world.person, |opening| opening.label = Label::new([page.clone()], []));
    assert!(tainted.opened.label.untrusted().contains(&page));
    let cat = ["cat", "notes"];
    let (out, _, exit) = clean.act(&clean.opened.exec(&cat), None).unwrap().running().finish();
    assert_eq!((out.as_slice(), exit), (&b"notes\n"[..], Exit::Status(0)));
    let question = tainted.act(&tainted.opened.exec(&cat), None).unwrap().pending();
    assert!(question.label.untrusted().contains(&page), "the question names it");
    for effect in
        [Effect::List { path: "/workspace".into() }, Effect::Read { path: "/workspace/notes".into() }]
    {
        clean.act(&clean.opened.action(effect.clone()), None).unwrap().running().finish();
        tainted.act(&tainted.opened.action(effect), None).unwrap().pending();
    }
    assert!(
        world.records().work().iter().all(|record| record["session"] == clean.opened.session.to_string())
    );
    world.verify_audit();
}

/// Row P11: without a workspace there is nothing that was read, and nothing in the label.
#[test]
fn a_session_without_a_workspace_has_read_nothing() {
    let world = World::new();
    let mut session = Session::open_with(&world.person, |opening| opening.workspace = None);
    assert_eq!(session.opened.label, Label::default());
    let mut action = session.opened.exec(&["echo", "alone"]);
    let Effect::Exec { cwd, .. } = &mut action.effect else { unreachable!() };
    *cwd = "/tmp".to_owned();
    let (out, _, _) = session.act(&action, None).unwrap().running().finish();
    assert_eq!(out, b"alone\n");
    world.verify_audit();
}

/// The daemon's proof covers the client's challenge: a welcome is not worth anything on another connection either.
#[test]
fn every_connection_has_challenges_of_its_own() {
    let world = World::new();
    let challenges: Vec<_> = (0..8).map(|_| world.raw().challenge).collect();
    let mut different = challenges.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), challenges.len());
    assert_ne!(key_id(&world.person.key()), world.daemon_key());
}

/// The client of `docs/examples`, written from the protocol's page alone, on other people's BLAKE3 and Ed25519: each side
/// proves itself to the other, and a reply is read to its last byte.
#[test]
fn a_client_written_from_the_page_is_understood() {
    let world = World::new();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/client.py");
    let libraries = std::env::var_os("CLOSEDPAW_TEST_PYTHON").expect("./test sets CLOSEDPAW_TEST_PYTHON");
    let mut client = world.person.command("/usr/bin/python3".as_ref());
    client.arg("-").arg(world.socket()).env("PYTHONPATH", libraries).stdin(File::open(page).unwrap());
    let output = client.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let status = world.status();
    let field = |name: &str| {
        let line = said.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.map(|line| line[name.len()..].trim().to_owned())
    };
    assert_eq!(field("revision"), Some(status.revision.to_string()));
    assert_eq!(field("rules"), Some(status.rules.to_string()));
    assert!(field("log").is_some_and(|log| log.contains(" records, root ")), "{said}");
}
