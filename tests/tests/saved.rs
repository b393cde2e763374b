//! A sandbox whose state is saved and restored: memory and processes, between two commands, on the workspace as it is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request, Stage};
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{ErrorCode, Refusal, SandboxId, Tier};
use closedpaw_tests::raw::{Raw, Session};
use closedpaw_tests::tiers;
use closedpaw_tests::world::{World, until};

/// What the shell says.
#[track_caller]
fn shell(world: &World, session: &mut Session, script: &str) -> String {
    let (out, err, exit) = session.approved(&world.person, &["sh", "-c", script]).finish();
    assert_eq!(exit, Exit::Status(0), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap().trim_end().to_owned()
}

fn person(world: &World, request: &Request) -> Result<(), Refusal> {
    match world.raw().request(&world.person.key(), request, &[])? {
        Reply::Done => Ok(()),
        other => panic!("{other:?}"),
    }
}

fn checkpoint(world: &World, sandbox: SandboxId) -> Result<(), Refusal> {
    person(world, &Request::Checkpoint { sandbox })
}

fn restore(world: &World, sandbox: SandboxId) -> Result<(), Refusal> {
    person(world, &Request::Restore { sandbox })
}

const WRITE: &str = "echo $0";

fn write(world: &World, session: &mut Session, word: &str) {
    shell(world, session, &format!("{WRITE}; echo {word} >/tmp/state; echo {word} >/workspace/file"));
}

const READ: &str = "cat /tmp/state /workspace/file; kill -0 -1 2>/dev/null && echo alive || echo alone";

/// Two ways are tried from one state: what is in memory goes back, files do not.
#[test]
fn what_ran_is_there_again_and_files_are_as_they_are() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let own = session.opened.sandbox;
    write(&world, &mut session, "one");
    shell(&world, &mut session, "setsid --fork sleep 1000");
    let saved = world.ctl(&["sandbox", "checkpoint", &own.to_string()]);
    assert_eq!(saved.code, Some(0), "{saved}");
    for way in ["two", "three"] {
        write(&world, &mut session, way);
        // Everything of the person's in there.
        shell(&world, &mut session, "kill -9 -1");
        assert_eq!(shell(&world, &mut session, READ), format!("{way}\n{way}\nalone"));
        let restored = world.ctl(&["sandbox", "restore", &own.to_string()]);
        assert_eq!(restored.code, Some(0), "{restored}");
        assert_eq!(shell(&world, &mut session, READ), format!("one\n{way}\nalive"));
        until("one is there with what was restored", || (world.sandboxes().len() == 2).then_some(()));
        let stages: Vec<_> = world.sandboxes().iter().map(|sandbox| sandbox.stage).collect();
        assert_eq!(stages, [Stage::Stopped, Stage::Ready]);
    }
    // It was found what is wanted, from inside, and not only before it was saved.
    assert_eq!(world.sandboxes()[0].found, world.sandboxes()[1].found);
    drop(session);
    until("nothing is left", || world.sandbox_process().is_none().then_some(()));
    let kept =
        |word: &str| world.records().work().iter().filter(|work| work.to_string().contains(word)).count();
    assert_eq!((kept("checkpoint"), kept("restore")), (1, 2), "each is in the log before it is done");
    world.verify_audit();
}

/// What is saved is whole: nothing is running for anybody meanwhile, and nothing begins.
#[test]
fn only_what_is_at_rest_can_be_saved() {
    let world = World::builder().second_key().build();
    let mut session = Session::open(&world.person);
    let own = session.opened.sandbox;
    let refused = restore(&world, own).unwrap_err();
    assert_eq!(
        (refused.code, refused.detail.contains("nothing")),
        (ErrorCode::NotAvailable, true),
        "{refused:?}"
    );
    checkpoint(&world, own).unwrap();
    let running = session.act(&session.opened.exec(&["cat"]), None).unwrap().running();
    for refused in [checkpoint(&world, own).unwrap_err(), restore(&world, own).unwrap_err()] {
        assert_eq!(
            (refused.code, refused.detail.contains("1 running")),
            (ErrorCode::Busy, true),
            "{refused:?}"
        );
    }
    drop(running);
    restore(&world, own).unwrap();
    // A person who is somebody else, and the agent.
    let other = world.other.raw().request(&world.other.key(), &Request::Restore { sandbox: own }, &[]);
    assert_eq!(other.unwrap_err().code, ErrorCode::UnknownSandbox);
    let agent = session.agent.request(&session.key, &Request::Checkpoint { sandbox: own }, &[]);
    assert_eq!(agent.unwrap_err().code, ErrorCode::KeyRole);
    world.verify_audit();
}

#[test]
fn what_cannot_be_saved_is_said() {
    for (tier, profile) in
        [(Tier::Process, tiers::profile(Tier::Process)), (Tier::Gvisor, tiers::apart(Tier::Gvisor, 0))]
    {
        let world = tiers::builder(tier).profiles(&profile).build();
        let session = tiers::open(&world, tier);
        let refused = checkpoint(&world, session.opened.sandbox).unwrap_err();
        assert!(matches!(refused.code, ErrorCode::NotAvailable | ErrorCode::Denied), "{refused:?}");
        if tier == Tier::Gvisor {
            assert_eq!(refused.code, ErrorCode::NotAvailable);
        }
    }
}

/// A state that finds no room is an error; the sandbox goes on, and what was saved before is still there.
#[test]
fn a_state_without_room_costs_nothing() {
    let small = tiers::profile(Tier::Gvisor).replace("memory  = \"2GiB\"", "memory  = \"32MiB\"");
    let world = World::builder().profiles(&small).build();
    let mut session = Session::open(&world.person);
    let own = session.opened.sandbox;
    write(&world, &mut session, "one");
    checkpoint(&world, own).unwrap();
    write(&world, &mut session, "two");
    shell(&world, &mut session, "head -c 80M /dev/urandom >/tmp/much");
    assert_eq!(checkpoint(&world, own).unwrap_err().code, ErrorCode::SandboxFailed);
    assert_eq!(shell(&world, &mut session, READ), "two\ntwo\nalone");
    restore(&world, own).unwrap();
    assert_eq!(shell(&world, &mut session, READ), "one\ntwo\nalone");
    world.verify_audit();
}

/// A later daemon goes on with what was restored, saves again, and restores again.
#[test]
fn a_restart_loses_neither_what_was_saved_nor_what_was_restored() {
    let mut world = World::builder().managed().build();
    let mut session = Session::open(&world.person);
    let own = session.opened.sandbox;
    let act = |world: &World, agent: &mut Raw, session: &Session, words: &[&str]| {
        let action = session.opened.exec(words);
        let (out, _, exit) = agent.act(&session.key, &action, None, None).unwrap().running().finish();
        assert_eq!(exit, Exit::Status(0), "{}", world.daemon_log());
        String::from_utf8(out).unwrap()
    };
    write(&world, &mut session, "one");
    checkpoint(&world, own).unwrap();
    write(&world, &mut session, "two");
    for round in 0..2 {
        restore(&world, own).unwrap();
        until("what it replaced is gone", || (world.sandboxes().len() == 2).then_some(()));
        let restored = world.sandboxes()[1].id;
        // Five parts of the session's own, four of what has no layer.
        until("the store has both", || (world.manager().stored().len() == 9).then_some(()));
        world.kill9();
        world.start();
        assert_eq!(world.sandboxes()[1].id, restored, "{round}");
        let mut agent = world.raw();
        assert_eq!(
            act(&world, &mut agent, &session, &["cat", "/tmp/state", "/workspace/file"]),
            "one\ntwo\n"
        );
        let mut console = world.raw();
        let resumed = Request::Resume { session: session.opened.session };
        console.request(&world.person.key(), &resumed, &[]).unwrap();
        checkpoint(&world, own).unwrap();
        (session.agent, session.console) = (agent, console);
    }
    restore(&world, own).unwrap();
    let stopped = world.ctl(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert_eq!(world.sandbox_process(), None);
    world.verify_audit();
}
