//! A profile's own list of system calls, in every tier: for each command, and in what the runtime is told.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Effect, Tier};
use closedpaw_tests::raw::{Acted, Session};
use closedpaw_tests::tiers;
use closedpaw_tests::world::World;
use std::fs;

/// The list that the documentation shows.
const LIST: &str = include_str!("../../docs/examples/few-calls.json");

fn profile(tier: Tier, list: Option<&str>) -> String {
    let key = list.map_or_else(String::new, |name| format!("seccomp = \"{name}\"\n"));
    tiers::profile(tier).replace("isolation =", &format!("{key}isolation ="))
}

fn world(tier: Tier, list: Option<&str>) -> World {
    let mut world = tiers::builder(tier).profiles(&profile(tier, list.map(|_| "few.json"))).stopped().build();
    if let Some(text) = list {
        fs::write(world.etc().join("profiles.d/few.json"), text).unwrap();
    }
    world.start();
    world
}

fn run(world: &World, session: &mut Session, script: &str) -> (String, Exit) {
    let (out, err, exit) = session.approved(&world.person, &["sh", "-c", script]).finish();
    (String::from_utf8(out).unwrap() + &String::from_utf8_lossy(&err), exit)
}

/// A link by symlinkat(2), a folder by mkdir(2), a signal by kill(2): none of them is on the list, but for signal 0.
const TRIES: &str = "cd /tmp; ln -s a b 2>/dev/null && echo link; mkdir c 2>/dev/null && echo folder; \
    sleep 9 & kill -0 $! 2>/dev/null && echo there; kill -9 $! 2>/dev/null && echo killed; echo done";

#[test]
fn a_profiles_list_is_kept_for_each_command_in_every_tier() {
    for tier in tiers::here() {
        for (list, said) in [(Some(LIST), "there\ndone\n"), (None, "link\nfolder\nthere\nkilled\ndone\n")] {
            let world = world(tier, list);
            let mut session = tiers::open(&world, tier);
            assert_eq!(run(&world, &mut session, TRIES), (said.to_owned(), Exit::Status(0)), "{tier:?}");
            // Init's own programs are not commands.
            let list = session.opened.action(Effect::List { path: "/workspace".to_owned() });
            let listing = match session.act(&list, None).expect("no refusal") {
                Acted::Running(listing) => listing,
                Acted::Pending(question) => {
                    session.console.approve(&world.person.key(), &question).expect("the answer counts");
                    session.act(&list, Some(question.id)).expect("no refusal").running()
                }
            };
            let (_, _, exit) = listing.finish();
            assert_eq!(exit, Exit::Status(0), "{tier:?}");
            drop(session);
            world.verify_audit();
        }
    }
}

/// What the runtime itself is told: of the calls that init has no use for, those of the list and no others (runtime-spec,
/// config-linux.md, "Seccomp").
#[test]
fn the_runtime_is_told_of_the_list_too() {
    for (list, others) in [(Some(LIST), false), (None, true)] {
        let world = world(Tier::Gvisor, list);
        let session = tiers::open(&world, Tier::Gvisor);
        let folder = world.run().join("sandboxes").join(session.opened.sandbox.to_string());
        let config =
            closedpaw_tests::world::until("the bundle", || fs::read(folder.join("config.json")).ok());
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let seccomp = &config["linux"]["seccomp"];
        assert_eq!(seccomp["defaultAction"], "SCMP_ACT_ERRNO");
        let names: Vec<&str> = seccomp["syscalls"][0]["names"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|name| name.as_str())
            .collect();
        for call in ["symlinkat", "socket", "connect", "shmget"] {
            assert_eq!(names.contains(&call), others, "{call}");
        }
        for call in ["utimensat", "execve", "setresuid"] {
            assert!(names.contains(&call), "{call}");
        }
    }
}

/// All or nothing: as with any mistake in policy, what was in force stays in force.
#[test]
fn a_list_with_a_mistake_comes_not_into_force() {
    let world = world(Tier::Gvisor, Some(LIST));
    let before = world.status().revision;
    let file = world.etc().join("profiles.d/few.json");
    for (text, words) in [
        (LIST.replace("\"utimensat\"", "\"ptrace\""), "no sandbox may call ptrace"),
        (LIST.replace("{\"syscall\": \"execve\"},", ""), "without execve no command starts"),
        (LIST.replace("\"allow\"", "\"trap\""), "match_action has to be"),
        ("{".to_owned(), "seccompiler's JSON form"),
    ] {
        fs::write(&file, text).unwrap();
        let error = closedpaw_tests::world::until("the mistake", || {
            world.status().policy_error.filter(|error| error.contains(words))
        });
        assert!(error.contains("few.json"), "{error}");
        assert_eq!(world.status().revision, before);
        let check = world.ctl_as_root(&["policy", "check", world.etc().to_str().unwrap()]);
        assert_eq!(check.code, Some(78), "{check}");
        assert!(check.out.contains(words), "{check}");
    }
    // And with another list the very next command is under it, in the sandbox that there is.
    let mut session = tiers::open(&world, Tier::Gvisor);
    let change = |session: &mut Session, text: &str| {
        let before = world.status().revision;
        fs::write(&file, text).unwrap();
        let now = || Some(world.status().revision).filter(|now| *now != before);
        session.opened.revision = closedpaw_tests::world::until("the list", now);
    };
    change(&mut session, &(LIST.to_owned() + "\n"));
    assert_eq!(run(&world, &mut session, "mkdir /tmp/x 2>/dev/null; echo $?").0, "1\n");
    let more =
        LIST.replace("{\"syscall\": \"umask\"},", "{\"syscall\": \"umask\"}, {\"syscall\": \"mkdir\"},");
    change(&mut session, &more);
    assert_eq!(run(&world, &mut session, "mkdir /tmp/x; echo $?").0, "0\n");
    world.verify_audit();
}
