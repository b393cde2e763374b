//! One switch that stops everything (row I7): at once, for good, and only for those whose it is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::ErrorCode;
use closedpaw_protocol::message::{Reply, Request};
use closedpaw_tests::echo::{self, Echo};
use closedpaw_tests::raw::{Raw, Session};
use closedpaw_tests::rounds;
use closedpaw_tests::scripted::{Format, Say, Script, Server};
use closedpaw_tests::terminal::{QUESTION, Terminal};
use closedpaw_tests::world::{World, until};
use serde_json::json;
use std::process::Stdio;

/// What a command that could not run because of a stop ends with: EX_TEMPFAIL of sysexits(3).
const STOPPED: Option<i32> = Some(75);

/// The runtime's own processes, one a sandbox.
fn running(world: &World) -> usize {
    let lines = world.command_lines();
    lines.iter().filter(|(_, words)| words.iter().any(|word| word == "boot")).count()
}

#[test]
fn a_stop_ends_ones_own_work_at_once_and_nobody_elses() {
    let world = World::builder().second_key().build();
    world.write_policy("50-tee.toml", echo::RULE);
    let (mut first, mut second) = (Echo::of(&world.person), Echo::of(&world.person));
    let mut others = Echo::of(&world.other);
    assert_eq!(running(&world), 3);
    let stopped = world.ctl(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    // Not in a moment: by the time it says so.
    assert_eq!(running(&world), 1);
    assert!(!first.ended().success() && !second.ended().success());
    others.says("still on");
    assert!(world.status().halted);
    for words in [["run", "-q", "--", "true"].as_slice(), &["ask", "What do you say?"]] {
        let refused = world.ctl(words);
        assert_eq!(refused.code, STOPPED, "{refused}");
        assert!(refused.err.contains("halted: everything was stopped on purpose"), "{refused}");
        assert!(refused.err.contains("closedpawctl start"), "{refused}");
    }
    assert_eq!(running(&world), 1);
    let ran = world.other.ctl(&["run", "-q", "--", "echo", "on"]);
    assert_eq!(ran.out, "on\n", "{ran}");
    let started = world.ctl(&["start"]);
    assert_eq!(started.code, Some(0), "{started}");
    assert!(!world.status().halted);
    assert_eq!(world.ctl(&["run", "-q", "--", "echo", "on"]).out, "on\n");
    let records = world.records();
    let stopped = records.of("closed");
    let stopped = stopped.iter().filter(|record| record["reason"] == json!("everything was stopped")).count();
    assert_eq!(stopped, 2);
    world.verify_audit();
}

/// In the middle of a tool, and with a question open, whatever the model would do next.
#[test]
fn a_conversation_ends_with_a_stop() {
    let world = World::new();
    world.write_policy("50-tee.toml", echo::RULE);
    world.person.write("log", b"a line of it\n");
    let call = |argv: &[&str]| Say::call("run", json!({ "argv": argv }));
    for (argv, asked) in [(["sleep", "1000"].as_slice(), true), (&["tail", "-f", "log"], false)] {
        let server = Server::start(Script::new(Format::OpenAi, [call(argv).into()])).unwrap();
        let url = format!("http://127.0.0.1:{}", server.port());
        let command = world.person.ctl_command(&["ask", "What do you say?", "--model-url", &url]);
        let mut terminal = Terminal::start(command, false);
        terminal.expect_in_turn(if asked { QUESTION } else { "a line of it" });
        let stopped = world.ctl(&["stop"]);
        assert_eq!(stopped.code, Some(0), "{stopped}");
        assert_eq!(running(&world), 0);
        let shown = terminal.finish();
        assert_eq!(shown.status.code(), STOPPED, "{}", shown.seen);
        assert!(shown.seen.contains("everything was stopped on purpose"), "{}", shown.seen);
        assert_eq!(world.ctl(&["start"]).code, Some(0));
    }
    world.verify_audit();
}

/// What was beginning when everything was stopped does not go on beginning.
#[test]
fn nothing_slips_through_a_stop() {
    let world = World::new();
    world.write_policy("50-tee.toml", echo::RULE);
    for _ in 0..rounds() {
        let mut command = world.person.ctl_command(&["run", "--quiet", "--", "tee", "/dev/null"]);
        let mut client =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let opened = world.records().of("opened").len();
        let asked = || world.records().of("intent").len() > opened;
        until("it is opening", || (asked() || client.try_wait().unwrap().is_some()).then_some(()));
        assert_eq!(world.ctl(&["stop"]).code, Some(0));
        let status = until("it ends", || client.try_wait().unwrap());
        assert_ne!(status.code(), Some(0));
        until("nothing of it is left", || world.sandbox_process().is_none().then_some(()));
        assert_eq!(world.ctl(&["start"]).code, Some(0));
    }
    world.verify_audit();
}

#[test]
fn everybodys_work_is_stopped_by_whom_policy_lets() {
    let world = World::builder().role("admin").second_key().build();
    world.write_policy("50-tee.toml", echo::RULE);
    let mut others = Echo::of(&world.other);
    let refused = world.other.ctl(&["stop", "--all"]);
    assert_eq!(refused.code, Some(77), "{refused}");
    others.says("still on");
    let stopped = world.ctl(&["stop", "--all"]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert_eq!(running(&world), 0);
    assert!(!others.ended().success());
    let kept = world.other.ctl(&["start"]);
    assert_eq!(kept.code, STOPPED, "{kept}");
    assert!(kept.err.contains("an admin stopped everybody's work"), "{kept}");
    assert_eq!(world.other.ctl(&["start", "--all"]).code, Some(77));
    assert_eq!(world.other.ctl(&["run", "-q", "--", "true"]).code, STOPPED);
    assert_eq!(world.ctl(&["start", "--all"]).code, Some(0));
    assert_eq!(world.other.ctl(&["run", "-q", "--", "echo", "on"]).out, "on\n");
    world.verify_audit();
}

/// An agent that could end a stop would not be stopped.
#[test]
fn an_agent_neither_stops_nor_starts() {
    let world = World::new();
    let session = Session::open(&world.person);
    let mut agent: Raw = world.raw();
    for (on, all) in [(true, true), (true, false), (false, true), (false, false)] {
        let refused = agent.request(&session.key, &Request::Halt { on, all }, &[]);
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(ErrorCode::KeyRole));
    }
    assert!(!world.status().halted);
    world.verify_audit();
}

/// Half a file may have said anything, so it says the safe thing.
#[test]
fn a_stop_that_nobody_can_read_holds_for_everybody() {
    let mut world = World::new();
    for text in ["", "closedpaw halts v1", "closedpaw halts v1\n10", "something else\n"] {
        world.stop();
        std::fs::write(world.state().join("halted"), text).unwrap();
        world.start();
        assert!(world.status().halted, "{text:?}");
        assert_eq!(world.ctl(&["run", "-q", "--", "true"]).code, STOPPED, "{text:?}");
    }
    // It is the judge's own file again once somebody lets work begin.
    world.stop();
    std::fs::write(world.state().join("halted"), "closedpaw halts v1\n1\n").unwrap();
    world.start();
    assert!(!world.status().halted);
    let listed = world.raw().request(&world.person.key(), &Request::Sandboxes, &[]);
    assert_eq!(listed, Ok(Reply::Sandboxes(vec![])));
    world.verify_audit();
}
