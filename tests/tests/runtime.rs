//! Row S1: no runtime, a wrong one, or one that only pretends.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::world::{Ran, World, runsc, until};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
    let neither = || {
        refused(&world.ctl(&["run", "--", "true"]), "runtime-changed");
        let ran = world.closedpawd(&["pin", runtime.to_str().unwrap()]);
        assert_eq!(ran.code, Some(69), "{ran}");
    };
    fs::set_permissions(&runtime, Permissions::from_mode(0o775)).unwrap();
    neither();
    fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
    chown(&runtime, Some(world.person.uid), None).unwrap();
    neither();
    nothing_ran(&world);
}

/// Whoever can write the folder can put another file there between any two looks.
#[test]
fn a_runtime_in_a_folder_that_others_can_write_is_neither_pinned_nor_run() {
    let (mut world, runtime) = pinned(&runsc(), "runsc");
    world.stop();
    let folder = runtime.parent().unwrap();
    type Open<'a> = &'a dyn Fn();
    let opened: [(Open<'_>, Open<'_>); 2] = [
        (&|| fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap(), &|| {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }),
        (&|| chown(folder, Some(world.person.uid), None).unwrap(), &|| chown(folder, Some(0), None).unwrap()),
    ];
    for (open, close) in opened {
        open();
        let ran = world.closedpawd(&["pin", runtime.to_str().unwrap()]);
        assert_eq!(ran.code, Some(69), "{ran}");
        assert!(ran.err.contains(folder.to_str().unwrap()), "{ran}");
        close();
    }
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    world.start();
    refused(&world.ctl(&["run", "--", "true"]), "runtime-changed");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
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

/// A descriptor of the daemon's in the runtime is one step from the sandbox.
#[test]
fn a_runtime_holds_nothing_that_the_daemon_was_started_with() {
    let (world, _) = fake("says-nothing");
    let mut client = world.person.ctl_command(&["run", "--", "true"]).stderr(Stdio::null()).spawn().unwrap();
    let started = |(_, words): &(u32, Vec<String>)| words.first().is_some_and(|word| word.ends_with("sleep"));
    let (process, _) =
        until("the runtime has started something", || world.command_lines().into_iter().find(started));
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
        assert_ne!(fs::read_link(entry.path()).unwrap(), world.stray(), "{:?}", entry.file_name());
    }
    client.kill().unwrap();
    client.wait().unwrap();
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
    // These two it finds where this machine has something to be found.
    let interfaces = fs::read_dir("/sys/class/net").unwrap().flatten();
    let network = interfaces.into_iter().any(|entry| entry.file_name() != "lo");
    let devices = fs::read_dir("/dev").unwrap().flatten().any(|entry| {
        let raw = ["mem", "kmem", "port", "kvm"].iter().any(|name| entry.file_name() == *name);
        raw || entry.file_type().unwrap().is_block_device()
    });
    for (is_here, finding) in [(network, "no-network"), (devices, "devices")] {
        assert_eq!(ran.err.contains(finding), is_here, "{finding}: {ran}");
    }
    refused(&world.ctl(&["run", "--", "true"]), "gate-failed");
    nothing_ran(&world);
}

/// A gVisor from before it had systrap, and one on which asking for it hangs.
#[test]
fn a_runtime_without_systrap_is_used_with_ptrace() {
    for name in ["without-systrap", "ponders-systrap"] {
        let mut world = World::builder().unpinned().stopped().build();
        let [runtime, true_one] = [name, "runsc"].map(|name| world.work().join(name));
        for (from, to) in [(Path::new(env!("CARGO_BIN_EXE_probe-runtime")), &runtime), (&runsc(), &true_one)]
        {
            fs::copy(from, to).unwrap();
            fs::set_permissions(to, Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(world.closedpawd(&["pin", runtime.to_str().unwrap()]).code, Some(0));
        world.start();
        let ran = world.ctl(&["run", "--quiet", "--", "echo", "on"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "on\n"), "{ran}");
        assert!(world.daemon_log().contains("gVisor's platform: ptrace"), "{}", world.daemon_log());
        world.verify_audit();
    }
}

/// Whatever the runtime does, and whatever has taken it over, the start of a sandbox dials nothing on this machine.
#[test]
fn a_runtime_that_dials_reaches_nobody() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let name = SocketAddr::from_abstract_name(format!("closedpaw-test-dials-{port}")).unwrap();
    let unix = UnixListener::bind_addr(&name).unwrap();
    tcp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    let (world, _) = fake(&format!("dials-{port}"));
    refused(&world.ctl(&["run", "--", "true"]), "sandbox-failed");
    let mut heard: Vec<(&str, String)> = vec![];
    // A run that only clears up is not confined like that, and shows that the try itself is sound.
    until("it has dialled in clearing up", || {
        while let Ok((stream, _)) = tcp.accept() {
            stream.set_nonblocking(false).unwrap();
            heard.push(("tcp", std::io::read_to_string(stream).unwrap()));
        }
        while let Ok((stream, _)) = unix.accept() {
            stream.set_nonblocking(false).unwrap();
            heard.push(("abstract", std::io::read_to_string(stream).unwrap()));
        }
        let both = ["tcp", "abstract"]
            .iter()
            .all(|kind| heard.iter().any(|(one, word)| one == kind && word == "delete"));
        both.then_some(())
    });
    assert!(heard.iter().all(|(_, word)| word == "delete"), "{heard:?}");
    nothing_ran(&world);
}

/// Kill it mid-run: the client is told, the daemon lives, the next run works.
#[test]
fn a_killed_sandbox_is_reported_and_the_next_one_works() {
    let mut world = World::new();
    world.person.write("log", b"first line\n");
    let mut command = world.person.ctl_command(&["run", "--", "tail", "-f", "log"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
