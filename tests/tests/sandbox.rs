//! Row S3: what is left when a sandbox ends, however it ends: no process, and no change to a file.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::stream::Exit;
use closedpaw_tests::raw::Session;
use closedpaw_tests::rounds;
use closedpaw_tests::scripted::{Format, Say, Script, Server};
use closedpaw_tests::terminal::says_yes;
use closedpaw_tests::world::{World, interrupt, until};
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program leaves behind in another process group goes with its session.
#[test]
fn nothing_outlives_its_session() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (out, _, exit) = session.approved(&world.person, &["setsid", "--fork", "sleep", "1000"]).finish();
    assert_eq!((out, exit), (vec![], Exit::Status(0)));
    assert!(world.sandbox_process().is_some());
    drop(session);
    until("the sandbox ends", || {
        world.command_lines().iter().all(|(_, words)| !words.iter().any(|word| word == "boot")).then_some(())
    });
    world.verify_audit();
}

/// What the daemon was started with is for none of the processes it starts.
#[test]
fn what_the_daemon_was_started_with_is_handed_to_nobody() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let done = session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    assert_eq!(done.2, Exit::Status(0));
    let holds = |process: u32| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == world.stray()))
    };
    assert!(holds(world.daemon_pid()));
    let mut others = world.command_lines();
    others.retain(|(process, _)| *process != world.daemon_pid());
    for part in ["judge", "closedpaw-relay", "boot"] {
        assert!(
            others.iter().any(|(_, words)| words.iter().any(|word| word.ends_with(part))),
            "{part}: {others:?}"
        );
    }
    for (process, words) in others {
        assert!(!holds(process), "{words:?}");
    }
    drop(session);
    world.verify_audit();
}

/// A client that opens a session and goes before the runtime is done: what the runtime makes then is nobody's, and goes.
#[test]
fn a_session_that_ends_while_its_sandbox_starts_leaves_nothing() {
    let mut world = World::new();
    // Several at once, so that they are at different stages of their start when they end.
    for stage in ["run", "gofer", "boot", "gofer", "boot", "gofer"] {
        let before = world.processes();
        let sessions = [(); 4].map(|()| Session::open(&world.person));
        let begun = |(process, words): &(u32, Vec<String>)| {
            !before.contains(process) && words.iter().any(|word| word == stage || word == "boot")
        };
        until("the runtime has begun", || world.command_lines().iter().any(begun).then_some(()));
        drop(sessions);
    }
    // A session opened later is ready later than what was started before has ended starting.
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    let left = || {
        world
            .command_lines()
            .into_iter()
            .filter(|(_, words)| words.iter().any(|word| word == "boot" || word == "gofer"))
    };
    let end = Instant::now() + Duration::from_secs(20);
    while left().count() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<u32> = left().map(|(process, _)| process).collect();
    for process in &left {
        drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
    }
    assert!(left.is_empty() && world.is_running(), "{} processes of the runtime are left", left.len());
    world.verify_audit();
}

/// The same when the daemon is told to stop.
#[test]
fn a_daemon_that_stops_while_a_sandbox_starts_leaves_nothing() {
    let mut world = World::new();
    let session = Session::open(&world.person);
    let runtime =
        |words: &[String]| words.iter().any(|word| word == "run" || word == "boot" || word == "gofer");
    until("the runtime has begun", || {
        world.command_lines().iter().any(|(_, words)| runtime(words)).then_some(())
    });
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.stop()));
    drop(session);
    let left: Vec<u32> = world.command_lines().into_iter().map(|(process, _)| process).collect();
    for process in &left {
        drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
    }
    assert!(stopped.is_ok() && left.is_empty(), "{} processes of the runtime are left", left.len());
}

/// The same when it is killed without a word, whatever it was at; and the next one has the runtime forget the rest.
#[test]
fn a_daemon_killed_while_a_sandbox_starts_leaves_nothing() {
    let mut world = World::new();
    for stage in ["run", "closedpaw-relay", "gofer", "boot"].into_iter().cycle().take(rounds()) {
        let session = Session::open(&world.person);
        let begun = |words: &[String]| words.iter().any(|word| word.rsplit('/').next() == Some(stage));
        until("the start has got there", || {
            world.command_lines().iter().any(|(_, words)| begun(words)).then_some(())
        });
        // Fails if any process is left.
        world.kill9();
        drop(session);
        world.start();
        let left = |folder: &str| fs::read_dir(world.run().join(folder)).unwrap().count();
        until("what was left is forgotten", || (left("sandboxes") + left("runsc") == 0).then_some(()));
        assert_eq!(world.ctl(&["run", "-q", "--", "echo", "on"]).out, "on\n");
    }
    world.verify_audit();
}

/// Ctrl-C: the client ends within a second, and the sandbox with it.
#[test]
fn an_interrupted_command_is_gone() {
    let world = World::new();
    world.person.write("log", b"line\n");
    let mut command = world.person.ctl_command(&["run", "--", "tail", "-f", "log"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert!(world.sandbox_process().is_some());
    interrupt(&mut client);
    until("the sandbox ends", || world.sandbox_process().is_none().then_some(()));
    world.verify_audit();
}

/// The same in the middle of a conversation, while the model's tool runs.
#[test]
fn an_interrupted_conversation_is_gone() {
    let world = World::new();
    world.person.write("log", b"line\n");
    let follow = Say::call("run", json!({ "argv": ["tail", "-f", "log"] }));
    let server = Server::start(Script::new(Format::OpenAi, [follow.into()])).unwrap();
    let url = format!("http://127.0.0.1:{}", server.port());
    let mut command = world.person.ctl_command(&["ask", "What is in the log?", "--model-url", &url]);
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let intents = || world.records().of("intent").len();
    until("the opening and the tool are under way", || (intents() == 2).then_some(()));
    interrupt(&mut client);
    until("the sandbox ends", || world.sandbox_process().is_none().then_some(()));
    world.verify_audit();
}

/// The workspace stays as it was; what would have changed is named.
#[test]
fn writes_stay_in_the_layer_and_are_listed() {
    let world = World::new();
    let kept = world.person.write("kept", b"as it was\n");
    world.person.write("removed", b"still here\n");
    let script = "echo new > made; echo other > kept; rm removed; mkdir -p deep/er; echo x > deep/er/file; chmod +x kept";
    let shown = says_yes(&world.person, &["run", "--", "sh", "-c", script]);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    for line in ["+ made", "~ kept", "- removed", "deep"] {
        assert!(shown.seen.contains(line), "{line}: {}", shown.seen);
    }
    assert_eq!(fs::read(&kept).unwrap(), b"as it was\n");
    assert_eq!(fs::read_dir(&world.person.workspace).unwrap().count(), 2);
    world.verify_audit();
}
