//! Row P7, and `closedpawctl run`: what reaches a command (its input, known variables) and what comes back of it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::terminal::{QUESTION, Terminal, says_yes};
use closedpaw_tests::world::{World, sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

/// What a shell would report (POSIX XCU 2.8.2).
#[test]
fn exit_statuses_are_passed_through() {
    let world = World::new();
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    assert_eq!(world.ctl(&["run", "--", "false"]).code, Some(1));
    for (argv, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let words: Vec<&str> = ["run", "--"].iter().chain(argv).copied().collect();
        let shown = says_yes(&world.person, &words);
        assert_eq!(shown.status.code(), Some(status), "{argv:?}: {}", shown.seen);
    }
    world.verify_audit();
}

#[test]
fn standard_input_reaches_the_command() {
    let world = World::new();
    let bytes: Vec<u8> =
        (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = world.work().join("input");
    fs::write(&file, &bytes).unwrap();
    let mut client = world.person.ctl_command(&["run", "--", "sha256sum"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}  -\n", sha256(&file)));
    world.verify_audit();
}

#[test]
fn large_output_arrives_whole() {
    let world = World::builder()
        .policy(&format!("{OPENING}[[rule]]\nname = \"reading\"\nallow = [\"exec\"]\nargv = [[\"cat\", \"**\"]]\nrole = \"agent\"\n"))
        .build();
    let bytes: Vec<u8> =
        (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = world.person.write("large", &bytes);
    let got = world.work().join("got");
    let mut client = world.person.ctl_command(&["run", "--", "cat", "large"]);
    let status = client.stdout(fs::File::create(&got).unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(sha256(&got), sha256(&file));
    world.verify_audit();
}

const OPENING: &str = "version = 1\n[[rule]]\nname = \"opening\"\nallow = [\"open\", \"log\", \"sandbox\"]\nrole = \"approver\"\n";

// ---- P7: the environment -----------------------------------------------------------------------------------------

/// Names that make programs run or load something (CVE-2026-24763, -32056, -43584).
const HOSTILE: [&str; 10] = [
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "GIT_EXTERNAL_DIFF",
    "PERL5OPT",
    "HOME",
];

#[test]
fn hostile_variables_are_refused() {
    let world = World::new();
    for name in HOSTILE {
        let ran = world.ctl(&["run", "--env", &format!("{name}=/workspace/evil"), "--", "true"]);
        assert_eq!(ran.code, Some(77), "{name}: {ran}");
        assert!(ran.err.contains("environment-forbidden"), "{name}: {ran}");
    }
    let ran = world.ctl(&["run", "--env", "LANG=C", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(world.records().work().iter().all(|record| !record.to_string().contains("/workspace/evil")));
    world.verify_audit();
}

/// Neither the client's own environment nor a file in the workspace (CVE-2026-45004) reaches the command.
#[test]
fn only_known_variables_reach_the_command() {
    let world = World::new();
    let hostile: String = HOSTILE.iter().map(|name| format!("{name}=/workspace/evil\n")).collect();
    for name in [".env", ".envrc", ".bashrc", ".profile"] {
        world.person.write(name, hostile.as_bytes());
    }
    let mut command = world.person.ctl_command(&["run", "--", "env"]);
    for name in HOSTILE.iter().filter(|name| !matches!(**name, "PATH" | "HOME" | "LD_PRELOAD")) {
        command.env(name, "/workspace/evil");
    }
    command.env("SECRET_TOKEN", "canary").env("LD_PRELOAD", "/nonexistent/evil.so");
    let mut terminal = Terminal::start(command, true);
    terminal.expect(QUESTION);
    terminal.write("y\n");
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    let out = String::from_utf8(shown.out).unwrap();
    let names: BTreeSet<&str> =
        out.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "USER",
        "PYTHONNOUSERSITE",
        "PAGER",
        "GIT_PAGER",
        "GIT_TERMINAL_PROMPT",
    ];
    assert_eq!(names, known.into(), "{out}");
    assert!(!out.contains("evil") && !out.contains("canary"), "{out}");
    world.verify_audit();
}
