//! Nothing piles up: however sandboxes end, and whatever else goes on, what can be counted afterwards is what was there before.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::echo::{self, Echo};
use closedpaw_tests::rounds;
use closedpaw_tests::world::{LONG, Person, World, until, within};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// What there is of a daemon and of everything it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    processes: usize,
    mounts: usize,
    files: usize,
    launchers_descriptors: usize,
    judges_descriptors: usize,
    stored: usize,
}

impl Count {
    fn of(world: &World) -> Self {
        let launcher = world.daemon_pid();
        let entries = |place: String| fs::read_dir(place).into_iter().flatten().count();
        let mounts = fs::read_to_string(format!("/proc/{launcher}/mountinfo")).unwrap_or_default();
        Self {
            processes: world.processes().len(),
            mounts: mounts.lines().count(),
            files: below(&world.run()),
            launchers_descriptors: entries(format!("/proc/{launcher}/fd")),
            judges_descriptors: processes(world, "judge")
                .first()
                .map_or(0, |id| entries(format!("/proc/{id}/fd"))),
            stored: world.manager().stored().len(),
        }
    }
}

fn below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { below(&entry.path()) } else { 0 }
        })
        .sum()
}

/// The processes of the daemon's of which a word of the command line ends so.
fn processes(world: &World, word: &str) -> Vec<u32> {
    let lines = world.command_lines().into_iter();
    lines.filter(|(_, words)| words.iter().any(|found| found.ends_with(word))).map(|(id, _)| id).collect()
}

fn kill(ids: &[u32]) {
    for id in ids {
        // It may have ended by itself meanwhile.
        drop(Command::new("kill").args(["-KILL", &id.to_string()]).stderr(Stdio::null()).status());
    }
}

/// How something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByItself,
    RelayKilled,
    SandboxKilled,
    FilesKilled,
    ClientKilled,
    Stopped,
    DaemonRestarted,
    LauncherKilled,
    JudgeKilled,
}

const ENDS: [End; 9] = [
    End::ByItself,
    End::RelayKilled,
    End::SandboxKilled,
    End::FilesKilled,
    End::ClientKilled,
    End::Stopped,
    End::DaemonRestarted,
    End::LauncherKilled,
    End::JudgeKilled,
];

/// Whoever is beside a command that ends goes on beginning and ending commands of their own.
fn neighbour(person: &Person, go_on: &AtomicBool) -> usize {
    let mut done = 0;
    while go_on.load(Ordering::Relaxed) {
        // It may be its own sandbox, or the daemon, that is killed.
        done += usize::from(person.ctl(&["run", "--quiet", "--", "true"]).code == Some(0));
    }
    done
}

#[test]
fn however_sandboxes_end_nothing_is_left_of_them() {
    let mut world = World::builder().second_key().managed().build();
    world.write_policy("50-tee.toml", echo::RULE);
    // What is made once and kept, like a person's root filesystem, is not counted as left.
    for person in [&world.person, &world.other] {
        assert_eq!(person.ctl(&["run", "-q", "--", "true"]).code, Some(0));
    }
    let quiet = |world: &World| {
        (world.manager().stored().is_empty() && processes(world, "boot").is_empty()).then_some(())
    };
    until("nothing runs", || quiet(&world));
    let mut before = Count::of(&world);
    until("it stays so", || {
        let now = Count::of(&world);
        (std::mem::replace(&mut before, now.clone()) == now).then_some(())
    });
    for end in ENDS.into_iter().cycle().take(2 * rounds()) {
        let outcomes = world.records().of("outcome").len();
        let go_on = AtomicBool::new(true);
        let other = world.other.clone();
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| neighbour(&other, &go_on));
            end_so(&mut world, end);
            go_on.store(false, Ordering::Relaxed);
            assert!(neighbour.join().is_ok());
        });
        let as_before = || (Count::of(&world) == before).then_some(());
        if within(LONG, as_before).is_none() {
            panic!("{end:?}: {before:?} became {:?}: {:?}", Count::of(&world), world.command_lines());
        }
        assert!(world.records().of("outcome").len() > outcomes, "{end:?}: how it ended is in the log");
        let ran = world.ctl(&["run", "-q", "--", "echo", "on"]);
        assert_eq!(ran.out, "on\n", "after {end:?}: {ran}");
        until("nothing runs", || quiet(&world));
    }
    world.verify_audit();
}

fn end_so(world: &mut World, end: End) {
    let mut echo = Echo::of(&world.person);
    match end {
        End::ByItself => echo.end_input(),
        End::RelayKilled => kill(&processes(world, "closedpaw-relay")),
        End::SandboxKilled => kill(&processes(world, "boot")),
        End::FilesKilled => {
            kill(&processes(world, "gofer"));
            // Whether the runtime goes on without is its own affair.
            echo.end_input();
        }
        End::ClientKilled => echo.kill(),
        End::Stopped => {
            assert_eq!(world.ctl(&["stop"]).code, Some(0));
            assert_eq!(world.ctl(&["start"]).code, Some(0));
        }
        End::DaemonRestarted => world.restart(),
        End::LauncherKilled => {
            world.kill9();
            world.start();
        }
        End::JudgeKilled => {
            kill(&processes(world, "judge"));
            world.ends();
            world.start();
        }
    }
    if matches!(end, End::DaemonRestarted | End::LauncherKilled | End::JudgeKilled) {
        // It goes on, and ends as it would have.
        let records =
            |world: &World| world.records().of("recovered").last().map(|record| record["taken_back"].clone());
        assert!(records(world).is_some_and(|count| count.as_u64() >= Some(1)), "{end:?}");
        echo.hears("still on");
        echo.end_input();
    }
    let status = echo.ended();
    let well = matches!(end, End::ByItself | End::DaemonRestarted | End::LauncherKilled | End::JudgeKilled);
    if end != End::FilesKilled {
        assert_eq!(status.code() == Some(0), well, "{end:?}: {status}");
    }
    if matches!(end, End::RelayKilled | End::SandboxKilled) {
        let gone = |record: &&serde_json::Value| record["outcome"] == json!("sandbox gone");
        until("it is named", || world.records().of("outcome").iter().any(gone).then_some(()));
    }
}
