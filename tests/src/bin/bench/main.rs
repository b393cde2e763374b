//! Benchmarks of a whole ClosedPaw beside its neighbours: `bench OUTPUT.json [--strict] [--only=PART]`.
//!
//! Ours and the peer take turns in one run, so that whatever else the machine does hits both. Everything runs in one
//! private world: a daemon under a root of its own, the shipped policy, and an ordinary user who asks. What criterion
//! measured before, in `target/criterion`, is read and goes into the same table.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot go on says so"
)]
#![allow(clippy::indexing_slicing, reason = "of JSON, where what is missing is null")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its tables are for whoever runs it")]

mod client;
mod cold;
mod footprint;
mod many;
mod output;
mod peers;
mod pool;
mod programs;
mod pure;
mod report;
mod requests;
mod samples;
mod second;
mod shim;

use closedpaw_tests::world::{LONG, World};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == "--floor") {
        second::floor();
        return ExitCode::SUCCESS;
    }
    let (mut output, mut strict, mut only) = (None, false, None);
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--strict" => strict = true,
            word => match word.strip_prefix("--only=") {
                Some(part) => only = Some(part.to_owned()),
                None => output = Some(PathBuf::from(word)),
            },
        }
    }
    let Some(output) = output else {
        eprintln!("usage: bench OUTPUT.json [--strict] [--only=PART]");
        return ExitCode::from(64);
    };
    let mut report = Report::default();
    let world = World::new();
    end_daemon_on_panic(&world);
    footprint::measure(&world, &mut report);
    for (name, part) in PARTS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        let begun = Instant::now();
        part(&world, &mut report);
        eprintln!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    }
    pure::read(&mut report);
    report.print();
    report.write(&output);
    world.verify_audit();
    drop(world);
    if !report.is_whole() || (strict && report.over()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A release aborts where it panics, and nothing is dropped: the daemon is ended here, and its sandboxes with it.
fn end_daemon_on_panic(world: &World) {
    let (daemon, root, work) = (world.daemon_pid(), world.root().to_owned(), world.work().to_owned());
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        said(panic);
        let log = std::fs::read_to_string(root.join("daemon.log")).unwrap_or_default();
        eprintln!("--- the daemon said:\n{log}");
        let _ = std::process::Command::new("kill").arg("-TERM").arg(daemon.to_string()).status();
        let ended = || {
            std::fs::read_to_string(format!("/proc/{daemon}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        };
        let begun = Instant::now();
        while !ended() && begun.elapsed() < LONG {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let _ = std::fs::remove_dir_all(&root);
        let _ = std::fs::remove_dir_all(&work);
    }));
}

type Part = fn(&World, &mut Report);

/// In this order: what is sensitive to others' leavings comes first.
const PARTS: [(&str, Part); 10] = [
    ("requests", requests::measure),
    ("second command", second::measure),
    ("pool", pool::measure),
    ("cold start", cold::measure),
    ("steps of a cold start", cold::steps),
    ("the runtime alone", cold::runtime_alone),
    ("a shim", shim::measure),
    ("output", output::measure),
    ("many sandboxes", many::measure),
    ("programs", programs::measure),
];
