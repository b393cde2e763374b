//! Row S5: what a session wrote is kept: how long, after whatever end, and for whom.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::{Action, ErrorCode};
use closedpaw_tests::raw::Session;
use closedpaw_tests::staged::{an_apply, diff, good, script, staged, world};
use closedpaw_tests::world::{World, until, word};
use std::fs;
use std::process::Command;

/// A session that wrote nothing leaves nothing, whatever ended it.
#[test]
fn what_wrote_nothing_leaves_nothing() {
    let world = world();
    world.person.write("file", b"x");
    good(world.ctl(&["run", "--", "cat", "file"]));
    script(&world.person, "echo x > made; rm made; cat file");
    // A new time is no change of the content.
    script(&world.person, "touch file");
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["ls"]), None).unwrap().running().finish();
    drop(session);
    drop(Session::open(&world.person));
    until("the sessions have ended", || (world.status().sessions == 0).then_some(()));
    assert_eq!(staged(&mut world.raw(), &world.person.key()), []);
    world.verify_audit();
}

/// However a session ends.
#[test]
fn it_is_kept_however_the_session_ends() {
    let world = world();
    let key = world.person.key();
    let sessions: [fn(&World, Session); 3] = [
        |_, session| drop(session),
        |world, mut session| {
            let kill = Request::Kill { sandbox: session.opened.sandbox };
            assert_eq!(session.console.request(&world.person.key(), &kill, &[]), Ok(Reply::Done));
        },
        |world, session| {
            let process = world.sandbox_process().unwrap();
            assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
            until("it is gone", || world.sandbox_process().is_none().then_some(()));
            drop(session);
        },
    ];
    for end in sessions {
        let mut session = Session::open(&world.person);
        session.approved(&world.person, &["sh", "-c", "echo x > made"]).finish();
        end(&world, session);
        until("it is kept", || {
            let all = staged(&mut world.raw(), &key);
            all.iter().all(|state| state.ended.is_some()).then_some(()).filter(|()| all.len() == 1)
        });
        assert!(diff(&world.person).contains_key("made"));
        good(world.ctl(&["discard"]));
    }
    world.verify_audit();
}

/// Nobody else's key sees, compares, carries over or discards it.
#[test]
fn it_is_its_persons_alone() {
    let world = world();
    script(&world.person, "echo x > made");
    let own = world.person.key();
    let state = staged(&mut world.raw(), &own).remove(0);
    let (mut stranger, key) = (world.other.raw(), world.other.key());
    assert_eq!(staged(&mut stranger, &key), []);
    let session = state.session;
    for request in [
        Request::Changes { session },
        Request::Discard { session },
        Request::Apply { action: an_apply(&world, &state) },
    ] {
        let refusal = stranger.request(&key, &request, &[]).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::UnknownSession, "{request:?}");
        // The person's key from somebody else's process.
        let refusal = stranger.request(&own, &request, &[]).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::WrongUser, "{request:?}");
    }
    assert_eq!(world.other.ctl(&["diff", "--session", &session.to_string()]).code, Some(77));
    assert_eq!(staged(&mut world.raw(), &own), [state]);
    world.verify_audit();
}

/// Row P1: an agent's key can neither look at it nor carry it over nor discard it, by whatever way.
#[test]
fn an_agents_key_has_nothing_to_do_with_it() {
    let world = world();
    script(&world.person, "echo x > made");
    let state = staged(&mut world.raw(), &world.person.key()).remove(0);
    let mut session = Session::open(&world.person);
    let key = session.key.clone();
    let own = session.opened.session;
    for session_id in [state.session, own] {
        let action = Action { session: session_id, ..an_apply(&world, &state) };
        for request in [
            Request::Staged { after: None },
            Request::Changes { session: session_id },
            Request::Discard { session: session_id },
            Request::Apply { action },
            Request::Applied { intent: 0, applied: 1, refused: 0 },
        ] {
            let refusal = session.agent.request(&key, &request, &[]).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::KeyRole, "{request:?}");
        }
    }
    let act = session.opened.action(an_apply(&world, &state).effect);
    let request = Request::Act { action: act, approval: None };
    assert_eq!(session.agent.request(&key, &request, &[]).unwrap_err().code, ErrorCode::KeyRole);
    let applies = world.records();
    assert!(applies.of("intent").iter().all(|record| word(record, "action").as_deref() != Some("apply")));
    world.verify_audit();
}

/// At most so much of one user's; who reaches it is told what to do, and nobody else is.
#[test]
fn a_bound_that_is_reached_is_named() {
    let world = world();
    let mut sessions = Vec::new();
    for _ in 0..16 {
        let mut session = Session::open(&world.person);
        let (_, _, exit) = session.approved(&world.person, &["sh", "-c", "echo x > made"]).finish();
        assert_eq!(exit.shell_status(), 0);
        sessions.push(session);
        sessions.clear();
        until("it has ended", || (world.status().sessions == 0).then_some(()));
    }
    let ran = world.ctl(&["run", "--", "true"]);
    assert!(
        ran.code == Some(75) && ran.err.contains("too-much-staged") && ran.err.contains("discard"),
        "{ran}"
    );
    good(world.ctl(&["run", "--no-workspace", "--", "true"]));
    good(world.other.ctl(&["run", "--", "true"]));
    good(world.ctl(&["discard"]));
    good(world.ctl(&["run", "--", "true"]));
    good(world.ctl(&["discard", "--all"]));
    assert_eq!(staged(&mut world.raw(), &world.person.key()), []);
    world.verify_audit();
}

/// Where somebody keeps it for the daemon, it outlives the daemon, and everything else of its sandbox is gone.
#[test]
fn it_outlives_the_daemon_and_its_sandbox() {
    let mut world = World::builder().second_key().managed().build();
    script(&world.person, "echo x > made; echo y > other");
    until("its sandbox is gone", || (world.manager().stored().len() == 2).then_some(()));
    let names: Vec<_> =
        world.manager().stored().keys().map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
    assert_eq!(names, ["memory", "merged"]);
    until("its folder is gone", || {
        (fs::read_dir(world.run().join("sandboxes")).unwrap().count() == 0).then_some(())
    });
    assert!(world.sandbox_process().is_none());
    let before = staged(&mut world.raw(), &world.person.key());
    for _ in 0..2 {
        world.kill9();
        world.start();
        assert_eq!(staged(&mut world.raw(), &world.person.key()), before);
    }
    world.restart();
    good(world.ctl(&["diff"]));
    good(world.ctl(&["apply", "--yes"]));
    assert_eq!(fs::read(world.person.workspace.join("made")).unwrap(), b"x\n");
    good(world.ctl(&["discard"]));
    until("nothing is kept any more", || world.manager().stored().is_empty().then_some(()));
    world.kill9();
    world.start();
    assert_eq!(staged(&mut world.raw(), &world.person.key()), []);
    world.verify_audit();
}

/// A session whose daemon was killed, and which does not come back, has still written what it has written.
#[test]
fn what_a_session_wrote_that_does_not_come_back_is_kept() {
    let mut world = World::builder().managed().build();
    for part in ["control", "process", "relay", ""] {
        let mut session = Session::open(&world.person);
        session.approved(&world.person, &["sh", "-c", "echo x > made"]).finish();
        let name = session.opened.session;
        until("the store has it", || (world.manager().stored().len() == 5).then_some(()));
        world.kill9();
        if part.is_empty() {
            // Nor does its person's console.
            drop(session);
        } else {
            world.manager().stored().retain(|name, _| !name.ends_with(part));
        }
        world.start();
        until("it is kept", || {
            let all = staged(&mut world.raw(), &world.person.key());
            (all.len() == 1 && all[0].session == name && all[0].ended.is_some()).then_some(())
        });
        until("its processes end", || world.sandbox_process().is_none().then_some(()));
        assert!(diff(&world.person).contains_key("made"), "without its {part}");
        good(world.ctl(&["discard"]));
        until("nothing is kept any more", || world.manager().stored().is_empty().then_some(()));
    }
    world.verify_audit();
}

/// Without one it ends with the daemon.
#[test]
fn without_a_manager_it_ends_with_the_daemon() {
    let mut world = world();
    script(&world.person, "echo x > made");
    assert_eq!(staged(&mut world.raw(), &world.person.key()).len(), 1);
    world.restart();
    assert_eq!(staged(&mut world.raw(), &world.person.key()), []);
    world.verify_audit();
}
