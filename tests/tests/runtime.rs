//! Row S1: no runtime, a wrong one, or one that only pretends.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::world::{Ran, World, runsc, until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A daemon whose pinned runtime is a copy of a program, under this name.
fn pinned(program: &Path, name: &str) -> (World, PathBuf) {
    let mut world = World::builder().unpinned().stopped().build();
    let runtime = world.work().join(name);
    fs::copy(program, &runtime).unwrap();
    fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
    let ran = world.closedpawd(&["pin", runtime.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran}");
    world.start();
    (world, runtime)
}

fn fake(name: &str) -> (World, PathBuf) {
    pinned(Path::new(env!("CARGO_BIN_EXE_probe-runtime")), name)
}

#[track_caller]
fn refused(ran: &Ran, word: &str) {
    assert_eq!(ran.code, Some(69), "{ran}");
    assert!(ran.err.contains(word), "{ran}");
    assert_eq!(ran.out, "", "nothing ran: {ran}");
}

/// Nothing was given to a sandbox: no outcome in the log says how a command ended.
#[track_caller]
fn nothing_ran(world: &World) {
    world.verify_audit();
    for outcome in world.records().of("outcome") {
        assert!(!outcome.to_string().contains("\"exit\":0"), "{outcome}");
    }
}

fn tells_what_to_install(ran: &Ran) {
    assert!(ran.err.contains("apt install runsc") && ran.err.contains("closedpawd pin"), "{ran}");
}

#[test]
fn without_a_pinned_runtime_nothing_runs_and_the_remedy_is_named() {
    let world = World::builder().unpinned().build();
    let ran = world.ctl(&["run", "--", "true"]);
    refused(&ran, "runtime-missing");
    tells_what_to_install(&ran);
    nothing_ran(&world);
}

#[test]
fn a_removed_runtime_is_missing_and_the_remedy_is_named() {
    let (world, runtime) = pinned(&runsc(), "runsc");
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    fs::remove_file(&runtime).unwrap();
    let ran = world.ctl(&["run", "--", "true"]);
    refused(&ran, "runtime-missing");
    tells_what_to_install(&ran);
    world.verify_audit();
}

#[test]
fn a_renamed_runtime_is_missing_until_it_is_back() {
    let (world, runtime) = pinned(&runsc(), "runsc");
    let away = runtime.with_file_name("runsc.away");
    fs::rename(&runtime, &away).unwrap();
    refused(&world.ctl(&["run", "--", "true"]), "runtime-missing");
    fs::rename(&away, &runtime).unwrap();
    let ran = world.ctl(&["run", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    world.verify_audit();
}

/// A file of the same name and length, moved into the place of the pinned one while the daemon runs.
#[test]
fn a_runtime_in_the_place_of_the_pinned_one_does_not_run() {
    let (world, runtime) = pinned(&runsc(), "runsc");
    let mut other = fs::read(&runtime).unwrap();
    let last = other.len() - 1;
    other[last] ^= 1;
    let beside = runtime.with_file_name("beside");
    fs::write(&beside, other).unwrap();
    fs::set_permissions(&beside, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, &runtime).unwrap();
    let ran = world.ctl(&["run", "--", "true"]);
    refused(&ran, "runtime-changed");
    assert!(ran.err.contains("closedpawd pin"), "{ran}");
    nothing_ran(&world);
}

#[test]
fn a_runtime_that_others_can_write_is_neither_pinned_nor_run() {
    let (world, runtime) = pinned(&runsc(), "runsc");
    fs::set_permissions(&runtime, Permissions::from_mode(0o775)).unwrap();
    refused(&world.ctl(&["run", "--", "true"]), "runtime-changed");
    let ran = world.closedpawd(&["pin", runtime.to_str().unwrap()]);
    assert_eq!(ran.code, Some(69), "{ran}");
    nothing_ran(&world);
}

/// One that exits 0 and does nothing.
#[test]
fn a_runtime_that_does_nothing_is_a_failed_start() {
    let (world, _) = fake("does-nothing");
    let began = Instant::now();
    refused(&world.ctl(&["run", "--", "true"]), "sandbox-failed");
    assert!(began.elapsed() < Duration::from_secs(20));
    nothing_ran(&world);
}

/// One that starts something which is no sandbox: the relay's patience ends it.
#[test]
fn a_runtime_that_says_nothing_is_a_failed_start_in_bounded_time() {
    let (world, _) = fake("says-nothing");
    let began = Instant::now();
    refused(&world.ctl(&["run", "--", "true"]), "sandbox-failed");
    assert!(began.elapsed() < Duration::from_secs(50));
    nothing_ran(&world);
}

/// The negative control of the start gate: everything answers as it should, but init stands on the bare host.
#[test]
fn a_runtime_that_isolates_nothing_fails_the_gate() {
    let (world, _) = fake("isolates-nothing");
    let ran = world.ctl(&["run", "--", "cat", "/etc/hostname"]);
    refused(&ran, "gate-failed");
    for finding in
        ["gvisor-kernel", "id-map", "read-only-root", "mounts", "own-processes", "capabilities", "seccomp"]
    {
        assert!(ran.err.contains(finding), "{finding}: {ran}");
    }
    refused(&world.ctl(&["run", "--", "true"]), "gate-failed");
    nothing_ran(&world);
}

/// Kill it mid-run: the client is told, the daemon lives, the next run works.
#[test]
fn a_killed_sandbox_is_reported_and_the_next_one_works() {
    let mut world = World::new();
    world.person.write("log", b"first line\n");
    let mut command = world.person.ctl_command(&["run", "--", "tail", "-f", "log"]);
    let mut client =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let sandbox = until("the sandbox runs", || world.sandbox_process());
    until("the work runs", || {
        let list = world.ctl(&["sandbox", "list", "--json"]).json();
        (list[0]["running"] == 1).then_some(())
    });
    assert!(Command::new("kill").args(["-KILL", &sandbox.to_string()]).status().unwrap().success());
    until("the client ends", || client.try_wait().unwrap());
    let output = client.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{err}");
    assert!(err.contains("sandbox-gone"), "{err}");
    assert!(world.is_running());
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    world.verify_audit();
}
