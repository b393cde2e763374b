//! What goes on while the daemon is restarted or was killed, who may go on with it, and what does not.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{ErrorCode, Label};
use closedpaw_tests::echo::{self, Echo};
use closedpaw_tests::raw::{Raw, Session};
use closedpaw_tests::rounds;
use closedpaw_tests::scripted::{Format, Say, Script, Server, Turn};
use closedpaw_tests::terminal::{QUESTION, Terminal};
use closedpaw_tests::world::{World, tree, until};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};

fn managed() -> World {
    World::builder().second_key().managed().build()
}

fn resume(raw: &mut Raw, key: &ed25519_dalek::SigningKey, session: &Session) -> Result<Reply, ErrorCode> {
    raw.request(key, &Request::Resume { session: session.opened.session }, &[])
        .map_err(|refusal| refusal.code)
}

/// Input, output and exit status of a command go on without a daemon, and how it ended is written down by the next one.
#[test]
fn a_command_goes_on_while_there_is_no_daemon() {
    let mut world = managed();
    world.write_policy("50-tee.toml", echo::RULE);
    for _ in 0..rounds() {
        let mut echo = Echo::of(&world.person);
        let outcomes = world.records().of("outcome").len();
        world.kill9();
        echo.says("without a daemon");
        world.start();
        echo.says("after");
        echo.end_input();
        assert_eq!(echo.ended().code(), Some(0), "{}", world.daemon_log());
        until("its outcome is written", || (world.records().of("outcome").len() > outcomes).then_some(()));
        let records = world.records();
        let outcome = records.of("outcome").last().cloned().unwrap();
        assert_eq!((&outcome["outcome"], &outcome["exit"]), (&json!("exited"), &json!(0)));
        assert_eq!(outcome["bytes_out"], json!("before\nwithout a daemon\nafter\n".len()));
        assert_eq!(outcome["intent"], records.work().last().unwrap()["seq"], "it belongs to its intent");
        assert_eq!(records.of("recovered").last().unwrap()["taken_back"], json!(1));
        until("the store has nothing left of it", || world.manager().stored().is_empty().then_some(()));
        world.verify_audit();
    }
}

/// Rows P1, P5, P9: a session that was taken back is its own person's, once; it has read what it had read.
#[test]
fn only_its_own_person_is_the_console_again() {
    let mut world = managed();
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let before = world.sandboxes();
    assert_ne!(before[0].label, Label::default());
    world.kill9();
    world.start();
    assert_eq!(world.sandboxes(), before);

    let (mut console, mut stranger) = (world.raw(), world.other.raw());
    assert_eq!(resume(&mut stranger, &world.other.key(), &session), Err(ErrorCode::UnknownSession));
    // The person's key from somebody else's process, and the agent's own.
    assert_eq!(resume(&mut stranger, &world.person.key(), &session), Err(ErrorCode::WrongUser));
    let mut agent = world.raw();
    assert_eq!(resume(&mut agent, &session.key, &session), Err(ErrorCode::KeyRole));
    assert_eq!(resume(&mut console, &world.person.key(), &session), Ok(Reply::Done));
    assert_eq!(resume(&mut world.raw(), &world.person.key(), &session), Err(ErrorCode::SessionBusy));

    let action = session.opened.exec(&["echo", "on"]);
    let (out, _, exit) = agent.act(&session.key, &action, None, None).unwrap().running().finish();
    assert_eq!((out.as_slice(), exit), (b"on\n".as_slice(), Exit::Status(0)));
    drop(console);
    until("it ends with its console", || world.sandboxes().is_empty().then_some(()));
    world.verify_audit();
}

/// Nobody can be made to wait for ever: a session whose console does not come back ends, and its sandbox with it.
#[test]
fn a_session_whose_console_stays_away_ends() {
    let mut world = managed();
    let session = Session::open(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    world.kill9();
    drop(session);
    world.start();
    assert_eq!(world.sandboxes().len(), 1);
    until("it ends", || world.sandboxes().is_empty().then_some(()));
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    assert_eq!(world.records().of("closed").last().unwrap()["reason"], json!("its time is over"));
    world.verify_audit();
}

/// A sandbox that cannot be taken back whole is let go, and so ends; the daemon serves.
#[test]
fn half_a_sandbox_is_let_go() {
    let mut world = managed();
    for part in ["control", "memory", "process", "relay"] {
        let session = Session::open(&world.person);
        until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
        world.kill9();
        world.manager().stored().retain(|name, _| !name.ends_with(part));
        world.start();
        assert!(world.sandboxes().is_empty(), "without its {part}");
        drop(session);
        until("what is left of it is let go", || world.manager().stored().is_empty().then_some(()));
        until("its processes end", || world.sandbox_process().is_none().then_some(()));
    }
    assert!(world.records().of("recovered").is_empty());
    assert_eq!(world.ctl(&["run", "-q", "--", "echo", "on"]).out, "on\n");
    world.verify_audit();
}

/// So is one whose session nobody can read any more, and the log says so.
#[test]
fn a_session_that_is_not_remembered_ends() {
    let mut world = managed();
    let session = Session::open(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    world.kill9();
    for (name, part) in world.manager().stored().iter().filter(|(name, _)| name.ends_with("memory")) {
        let memory = File::from(part.try_clone().unwrap());
        let length = memory.metadata().unwrap().len();
        memory.write_all_at(&vec![0x5a; usize::try_from(length).unwrap()], 0).expect(name);
        // It cannot be made longer: what the daemon keeps of anybody has a bound.
        assert!(memory.set_len(length + 1).is_err());
    }
    world.start();
    until("it is removed", || world.manager().stored().is_empty().then_some(()));
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    let records = world.records();
    assert_eq!(records.of("recovered").last().unwrap()["reaped"], json!(1));
    drop(session);
    world.verify_audit();
}

/// A manager that lets go of what it keeps, as for a service that is stopped, ends every sandbox.
#[test]
fn a_sandbox_ends_when_the_manager_lets_go() {
    let mut world = managed();
    let session = Session::open(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    world.stop();
    assert!(world.sandbox_process().is_some(), "it goes on as long as somebody keeps it");
    world.manager().stored().clear();
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    drop(session);
    world.start();
    until("nothing is left of it", || {
        let left = |folder: &str| std::fs::read_dir(world.run().join(folder)).unwrap().count();
        (left("sandboxes") + left("runsc") == 0).then_some(())
    });
    world.verify_audit();
}

/// A conversation goes on: the console is its session's again, and the agent gets a connection for the one that was lost.
#[test]
fn a_conversation_goes_on_with_another_daemon() {
    a_conversation_goes_on(false);
}

/// It does where neither of the client's two processes ran while the daemon went: then they learn of everything at once.
#[test]
fn a_conversation_that_stood_still_goes_on_with_another_daemon() {
    for _ in 0..3 {
        a_conversation_goes_on(true);
    }
}

/// Whether something that a local port has sent was not read yet: proc_net(5).
fn unread_from(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let from = format!("0100007F:{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|fields| fields[2] == from && !fields[4].ends_with(":00000000"))
}

fn a_conversation_goes_on(frozen: bool) {
    let mut world = managed();
    let (asked, twice) = mpsc::channel();
    let (restarted, go_on) = mpsc::channel::<()>();
    let go_on = Mutex::new(go_on);
    let echo = |word: &str| Say::call("run", json!({ "argv": ["echo", word] }));
    let after = Say::with(move |_| {
        asked.send(()).unwrap();
        go_on.lock().unwrap().recv().unwrap();
        Say::call("run", json!({ "argv": ["echo", "after"] }))
    });
    let turns: [Turn; 3] = [echo("before").into(), after.into(), Say::text("That is all.").into()];
    let server = Server::start(Script::new(Format::OpenAi, turns)).unwrap();
    let url = format!("http://127.0.0.1:{}", server.port());
    let mut command = world.person.ctl_command(&["ask", "What do you say?", "--model-url", &url]);
    let client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    twice.recv().unwrap();
    let signal = |signal| {
        for process in tree(client.id()) {
            let told = Command::new("kill").arg(signal).arg(process.to_string()).status().unwrap();
            assert!(told.success());
        }
    };
    if frozen {
        signal("-STOP");
    }
    world.kill9();
    world.start();
    restarted.send(()).unwrap();
    if frozen {
        until("the model has answered", || unread_from(server.port()).then_some(()));
        signal("-CONT");
    }
    let output = client.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("That is all."), "{out}\n{err}");
    let records = world.records();
    let sessions: Vec<_> = records.of("outcome").iter().map(|record| record["session"].clone()).collect();
    assert!(sessions.len() == 2 && sessions[0] == sessions[1], "{sessions:?}");
    assert_eq!(records.of("closed").last().unwrap()["reason"], json!("closed"));
    world.verify_audit();
}

/// A question dies with the daemon, and so does the answer to it; what it was about is asked again (row P2).
#[test]
fn what_was_being_asked_is_asked_again() {
    let mut world = managed();
    world.person.write("file", b"");
    let mut terminal = Terminal::start(world.person.ctl_command(&["run", "--", "touch", "made"]), false);
    terminal.expect_in_turn(QUESTION);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    world.kill9();
    world.start();
    terminal.write("y\n");
    terminal.expect_in_turn("the daemon went before it heard the answer");
    terminal.expect_in_turn(QUESTION);
    terminal.write("y\n");
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    assert!(shown.seen.contains("+ made"), "{}", shown.seen);
    let records = world.records();
    assert_eq!((records.of("asked").len(), records.of("answered").len()), (2, 1));
    world.verify_audit();
}

/// Row I7: what was stopped stays stopped, whatever happens to the daemon, until somebody lets it go on.
#[test]
fn what_was_stopped_stays_stopped() {
    let mut world = managed();
    world.write_policy("50-tee.toml", echo::RULE);
    let mut echo = Echo::of(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    let mut stop =
        world.person.ctl_command(&["stop"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let halted = world.state().join("halted");
    until("the stop is written down", || {
        std::fs::read_to_string(&halted).ok().filter(|text| text.ends_with('\n'))
    });
    // At once: whatever the judge had ordered by then, the launcher may not have done it.
    world.kill9();
    stop.wait().unwrap();
    world.start();
    assert!(world.status().halted && world.sandboxes().is_empty());
    assert_ne!(echo.ended().code(), Some(0));
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    assert_eq!(world.ctl(&["run", "-q", "--", "true"]).code, Some(75));
    let started = world.ctl(&["start"]);
    assert_eq!(started.code, Some(0), "{started}");
    world.kill9();
    world.start();
    assert!(!world.status().halted);
    world.verify_audit();
}

/// A session that was closed is over for every later daemon, too, and so is one whose profile is no more.
#[test]
fn what_is_over_or_fits_no_more_does_not_come_back() {
    let mut world = managed();
    let mut session = Session::open(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    let close = Request::Close { session: session.opened.session };
    assert_eq!(session.console.request(&world.person.key(), &close, &[]), Ok(Reply::Done));
    world.kill9();
    world.start();
    assert!(world.sandboxes().is_empty());
    until("it is let go", || world.manager().stored().is_empty().then_some(()));

    let session = Session::open(&world.person);
    until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
    world.kill9();
    let profile = world.etc().join("profiles.d/default.toml");
    let text = std::fs::read_to_string(&profile).unwrap();
    std::fs::write(&profile, text.replace("\"default\"", "\"another\"")).unwrap();
    world.start();
    assert!(world.sandboxes().is_empty());
    until("it is let go", || world.manager().stored().is_empty().then_some(()));
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    std::fs::write(&profile, text).unwrap();
    drop(session);
    world.verify_audit();
}
