//! Row S3: what a workload may use up: time, memory, processes, files, disk and output end at a limit and harm nobody.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::stream::Exit;
use closedpaw_tests::probe::start;
use closedpaw_tests::raw::Session;
use closedpaw_tests::world::{World, scheduling, until};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Profiles like the shipped one but for some limits.
fn profile(limits: &str) -> String {
    format!(
        "version = 1\n[[profile]]\nname = \"default\"\nisolation = \"gvisor\"\nenv = [\"LANG\"]\n\
         mounts = {{ workspace = \"layer\" }}\n[profile.limits]\nmemory = \"2GiB\"\npids = 512\ncpu = 200\n{limits}\n"
    )
}

/// Row S3: while one sandbox does this, another one still does its work.
fn unharmed(limits: &str, words: &[&str], look: impl FnOnce(&str, Exit)) {
    let mut world = World::builder().profiles(&profile(limits)).build();
    let mut session = Session::open(&world.person);
    let running = start(&world, &mut session, words);
    let (out, exit) = std::thread::scope(|scope| {
        let work = scope.spawn(|| running.finish());
        let mut others = 0;
        while !work.is_finished() || others == 0 {
            let ran = world.ctl(&["run", "--", "true"]);
            assert_eq!(ran.code, Some(0), "another sandbox: {ran}");
            others += 1;
        }
        let (out, _, exit) = work.join().unwrap();
        (String::from_utf8_lossy(&out).into_owned(), exit)
    });
    look(&out, exit);
    drop(session);
    assert!(world.is_running());
    // What the sandbox had started goes with its session.
    until("its processes end", || world.sandbox_process().is_none().then_some(()));
    world.verify_audit();
}

#[test]
fn a_sandbox_takes_no_processor_from_a_program_that_runs() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let running = session.approved(&world.person, &["sleep", "60"]);
    // gVisor itself and the address space of a program.
    let processes = until("the sandbox runs", || Some(world.sandbox_processes()).filter(|all| all.len() > 1));
    for process in processes {
        let policies = scheduling(process);
        assert!(!policies.is_empty());
        // SCHED_BATCH of sched(7).
        assert!(policies.iter().all(|policy| policy == "3"), "{process}: {policies:?}");
    }
    drop(running);
    drop(session);
    world.verify_audit();
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    unharmed(
        "seconds = 8\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["forks"],
        |out, exit| {
            // Either forking failed, or time was over.
            assert!(out.contains("forked") || exit == Exit::Timeout, "{exit:?} {out}");
        },
    );
}

#[test]
fn a_program_that_fills_memory_harms_nobody() {
    unharmed(
        "seconds = 10\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["memory"],
        |out, exit| {
            assert!(
                out.contains("filled") || matches!(exit, Exit::Timeout | Exit::Signal(9) | Exit::SandboxGone),
                "{exit:?} {out}"
            );
        },
    );
}

#[test]
fn a_layer_is_full_at_its_size() {
    for place in ["/workspace/fill", "/tmp/fill"] {
        unharmed(
            "seconds = 60\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
            &["disk", place],
            |out, exit| {
                let found: Value =
                    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error} {exit:?} {out}"));
                assert_eq!(found["end"], "errno:ENOSPC", "{found}");
                let written = found["written"].as_u64().unwrap();
                assert!((1 << 20..=16 << 20).contains(&written), "{found}");
            },
        );
    }
}

#[test]
fn descriptors_end_at_the_profiles_number() {
    unharmed(
        "seconds = 60\noutput = \"1MiB\"\nfiles = 128\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["descriptors"],
        |out, exit| {
            let found: Value =
                serde_json::from_str(out).unwrap_or_else(|error| panic!("{error} {exit:?} {out}"));
            assert_eq!(found["end"], "errno:EMFILE", "{found}");
            assert!(found["opened"].as_u64().unwrap() < 128, "{found}");
        },
    );
}

#[test]
fn output_beyond_its_limit_ends_the_command() {
    let world = World::builder()
        .profiles(&profile(
            "seconds = 60\noutput = \"64KiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        ))
        .build();
    let ran = world.ctl(&["run", "--", "cat", "/dev/zero"]);
    assert_eq!(ran.code, Some(125), "{}", ran.err);
    assert_eq!(ran.out.len(), 64 << 10);
    assert!(ran.err.contains("output-limit"), "{}", ran.err);
    world.verify_audit();
}

#[test]
fn a_command_ends_with_its_time() {
    let world = World::builder()
        .profiles(&profile(
            "seconds = 2\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        ))
        .build();
    world.person.write("log", b"line\n");
    let began = Instant::now();
    let mut command = world.person.ctl_command(&["run", "--", "tail", "-f", "log"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the command ends", || client.try_wait().unwrap());
    let output = client.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(124), &b"line\n"[..]), "{err}");
    assert!(err.contains("time-limit"), "{err}");
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&began.elapsed()));
    world.verify_audit();
}
