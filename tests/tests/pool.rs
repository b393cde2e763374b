//! Commands that have a sandbox each: clean ones wait, each serves one command, none a second one.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{SandboxState, Stage};
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{ErrorCode, SandboxId, Tier};
use closedpaw_tests::echo::{self, Echo};
use closedpaw_tests::raw::{Running, Session};
use closedpaw_tests::tiers;
use closedpaw_tests::world::{Builder, World, until, within};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long it may take until clean ones wait, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn builder(tier: Tier, pool: u32) -> Builder {
    tiers::builder(tier).profiles(&tiers::apart(tier, pool))
}

fn clean(world: &World) -> Vec<SandboxState> {
    let mut all = world.sandboxes();
    all.retain(|sandbox| sandbox.stage == Stage::Clean);
    all
}

fn busy(world: &World) -> Vec<SandboxId> {
    world.sandboxes().iter().filter(|sandbox| sandbox.running > 0).map(|sandbox| sandbox.id).collect()
}

fn filled(world: &World, pool: usize) {
    let waits = within(SOON, || (clean(world).len() == pool).then_some(()));
    assert!(waits.is_some(), "clean ones wait: {:?}\n{}", world.sandboxes(), world.daemon_log());
}

fn out(running: Running) -> String {
    let (out, err, exit) = running.finish();
    assert_eq!(exit, Exit::Status(0), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}

/// Files of the workspace pass from one command to the next; processes, /tmp and shared memory do not.
#[test]
fn a_command_finds_the_workspace_and_nothing_else_of_the_one_before() {
    for tier in [Tier::Gvisor, Tier::Process] {
        let world = builder(tier, 1).build();
        let mut session = tiers::open(&world, tier);
        let leave =
            "echo kept >here; echo lost >/tmp/there; setsid --fork sleep 1000; kill -0 -1 && echo alive";
        assert_eq!(out(session.approved(&world.person, &["sh", "-c", leave])), "alive\n");
        // Nobody but this shell and init, which is not this person's, is there to be signalled.
        let look = "cat here; ls -A /tmp; kill -0 -1 || echo alone";
        assert_eq!(out(session.approved(&world.person, &["sh", "-c", look])), "kept\nalone\n");
        assert!(!world.person.workspace.join("here").exists(), "it is staged");
        drop(session);
        until("nothing is left", || world.sandbox_process().is_none().then_some(()));
        world.verify_audit();
    }
}

#[test]
fn each_serves_one_command_and_another_takes_its_place() {
    let world = builder(Tier::Gvisor, 2).build();
    let mut session = Session::open(&world.person);
    let own = session.opened.sandbox;
    let mut seen = BTreeSet::from([own]);
    for _ in 0..4 {
        filled(&world, 2);
        let waiting: BTreeSet<_> = clean(&world).iter().map(|sandbox| sandbox.id).collect();
        assert!(waiting.is_disjoint(&seen), "none has run anything");
        // It is granted; what it is to do is not said yet.
        let running = session.act(&session.opened.exec(&["true"]), None).unwrap().running();
        let [taken] = busy(&world)[..] else { panic!("one command runs") };
        assert!(waiting.contains(&taken) && seen.insert(taken));
        assert_eq!(running.finish().2, Exit::Status(0));
        until("it is gone", || world.sandboxes().iter().all(|sandbox| sandbox.id != taken).then_some(()));
    }
    // What waits was started and gone through the start gate as every other.
    filled(&world, 2);
    assert!(clean(&world).iter().all(|sandbox| sandbox.found == world.sandboxes()[0].found));
    let list = world.ctl(&["sandbox", "list"]);
    assert_eq!(list.out.lines().filter(|line| line.contains("  clean ")).count(), 2, "{list}");
    world.verify_audit();
}

/// With `pool = 0` none waits, and every command still has its own.
#[test]
fn no_pool_is_one_line() {
    let world = builder(Tier::Process, 0).build();
    let mut session = tiers::open(&world, Tier::Process);
    let action = session.opened.exec(&["echo", "on"]);
    // However soon a sandbox is ended when its command has: the client hears how that ended.
    for _ in 0..40 {
        assert_eq!(out(session.act(&action, None).unwrap().running()), "on\n");
        assert!(clean(&world).is_empty());
    }
    let begun = session.act(&session.opened.exec(&["tee"]), None).unwrap().running();
    assert_eq!(busy(&world).len(), 1);
    assert!(!busy(&world).contains(&session.opened.sandbox));
    drop(begun);
}

#[test]
fn too_many_at_once_is_an_answer() {
    let world = builder(Tier::Process, 0).build();
    let mut session = tiers::open(&world, Tier::Process);
    let action = session.opened.exec(&["tee"]);
    let running: Vec<_> = (0..16).map(|_| session.act(&action, None).unwrap().running()).collect();
    let refused = session.act(&action, None).map(drop).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    assert!(refused.detail.contains("16 commands"), "{}", refused.detail);
    drop(running);
    let again = || session.act(&action, None).ok();
    until("one may begin when others have ended", again).running();
    world.verify_audit();
}

/// To end the sandbox of one command ends that command; the session's own ends the session.
#[test]
fn one_of_them_is_killed_alone() {
    let world = builder(Tier::Gvisor, 1).build();
    let mut session = Session::open(&world.person);
    filled(&world, 1);
    let running = session.approved(&world.person, &["tee"]);
    let [taken] = busy(&world)[..] else { panic!("one command runs") };
    let killed = world.ctl(&["sandbox", "kill", &taken.to_string()]);
    assert_eq!(killed.code, Some(0), "{killed}");
    assert_eq!(running.finish().2, Exit::SandboxGone);
    assert_eq!(out(session.act(&session.opened.exec(&["echo", "on"]), None).unwrap().running()), "on\n");
    let outcomes = world.records();
    assert_eq!(outcomes.of("outcome")[0]["outcome"], json!("sandbox gone"));
    let stopped = world.ctl(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert_eq!(world.sandbox_process(), None, "what waits is stopped as well");
    world.verify_audit();
}

/// Over a restart a command goes on in its own sandbox; those that only waited are replaced; the next command finds the
/// session's layer, although an earlier daemon has mounted it.
#[test]
fn a_restart_loses_no_command_and_no_layer() {
    for tier in [Tier::Gvisor, Tier::Process] {
        let mut world = builder(tier, 1).managed().build();
        world.write_policy("50-tee.toml", echo::RULE);
        let mut session = tiers::open(&world, tier);
        let mut echo = Echo::with(&world.person, &["--isolation", tier.name()]);
        assert_eq!(out(session.approved(&world.person, &["sh", "-c", "echo kept >here"])), "");
        filled(&world, 2);
        let before: BTreeSet<_> = clean(&world).iter().map(|sandbox| sandbox.id).collect();
        let running = busy(&world);
        // Five parts of each session's own, four of each of the others.
        until("the store has them all", || (world.manager().stored().len() == 2 * 5 + 3 * 4).then_some(()));
        world.kill9();
        echo.says("without a daemon");
        world.start();
        echo.says("after");
        assert_eq!(busy(&world), running);
        filled(&world, 2);
        assert!(clean(&world).iter().all(|sandbox| !before.contains(&sandbox.id)));
        let mut agent = world.raw();
        let action = session.opened.exec(&["cat", "here"]);
        assert_eq!(out(agent.act(&session.key, &action, None, None).unwrap().running()), "kept\n");
        echo.end_input();
        assert_eq!(echo.ended().code(), Some(0), "{}", world.daemon_log());
        let stopped = world.ctl(&["stop"]);
        assert_eq!(stopped.code, Some(0), "{stopped}");
        drop((session, agent));
        assert_eq!(world.sandbox_process(), None);
        let left =
            |name: &String| name.ends_with("control") || name.ends_with("process") || name.ends_with("relay");
        until("nothing that lives is in the store", || {
            (!world.manager().stored().keys().any(left)).then_some(())
        });
        world.verify_audit();
    }
}
