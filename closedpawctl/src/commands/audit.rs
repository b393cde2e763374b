//! `closedpawctl audit`: reading, following and checking the log. The daemon gives a descriptor; the checking is here.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::{Connection, Daemon, heads};
use crate::console::screen;
use crate::console::session::Person;
use crate::failure::Failure;
use closedpaw_ledger::read::{parse, render_line};
use closedpaw_ledger::verify::{Report, Verifier};
use closedpaw_protocol::message::{Reply, Request};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::time::Duration;

/// What to do with it.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Show the records.
    #[command(after_help = "Example:\n  closedpawctl audit show --last 20")]
    Show {
        /// Only the last so many.
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// Only this kind: intent, outcome, asked, answered, refusals…
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
    },
    /// Show records as they are written, until Ctrl-C.
    #[command(after_help = "Example:\n  closedpawctl audit tail")]
    Tail,
    /// Check every record, the tree over them, its signed head, and the head you saw last.
    #[command(after_help = "Example:\n  closedpawctl audit verify --json")]
    Verify,
}

/// Does it.
pub async fn run(word: Word, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    match word {
        Word::Show { last, kind } => show(&open(&mut connection).await?, last, kind.as_deref(), as_json),
        Word::Tail => tail(&mut connection, &person, as_json).await,
        Word::Verify => {
            let report = verify(&mut connection, &person).await?;
            heads::check_and_keep(&mut connection, &person.pinned).await?;
            report_verified(&report, daemon, as_json);
            Ok(())
        }
    }
}

async fn open(connection: &mut Connection) -> Result<File, Failure> {
    match connection.request(&Request::Log, &[]).await? {
        (Reply::Log, descriptors) => {
            descriptors.into_iter().next().map(File::from).ok_or_else(|| Failure::lost("no log came along"))
        }
        _ => Err(Failure::lost("another answer than the log")),
    }
}

fn read_failed(error: io::Error) -> Failure {
    Failure::new(
        "audit-unreadable",
        74,
        format!("the log cannot be read: {error}"),
        "look at the disk it lies on",
    )
}

/// Checks the whole log against the head that the daemon answers with and the one that was kept.
pub async fn verify(connection: &mut Connection, person: &Person) -> Result<Report, Failure> {
    let mut file = open(connection).await?;
    let head = connection.head().ok_or_else(|| Failure::lost("no head came along"))?;
    let key = heads::key(&person.pinned)?;
    let held: Vec<_> = heads::kept(&person.pinned)?.into_iter().chain([heads::of_wire(&head)]).collect();
    let broken = |fault: closedpaw_ledger::verify::Fault| {
        Failure::new(
            "audit-broken",
            70,
            format!("the audit log does not verify: {fault}"),
            "somebody changed it or the disk did; keep the log and your heads, and tell the machine's admin",
        )
    };
    let mut verifier = Verifier::new(Some(key), &held).map_err(broken)?;
    // Records after the head may be half-written while they are read, so only what it covers is checked.
    let mut lines = BufReader::with_capacity(1 << 16, &mut file);
    let mut line = Vec::new();
    for _ in 0..head.size {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(read_failed)? == 0 {
            break;
        }
        verifier.push(&line).map_err(broken)?;
    }
    verifier.finish().map_err(broken)
}

fn report_verified(report: &Report, daemon: &Daemon, as_json: bool) {
    if as_json {
        json(&json!({
            "verified": true,
            "records": report.records,
            "bytes": report.bytes,
            "root": report.root.to_string(),
            "held_heads": report.held_heads,
            "path": daemon.audit().display().to_string(),
        }));
    } else {
        line(&format!(
            "{}: {} records, {} bytes, root {}: verified",
            daemon.audit().display(),
            report.records,
            report.bytes,
            report.root
        ));
    }
}

fn show(file: &File, last: Option<usize>, kind: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let wanted = |line: &[u8]| kind.is_none_or(|kind| parse(line).is_ok_and(|record| record.kind == kind));
    let mut kept = std::collections::VecDeque::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(read_failed)?;
        if !wanted(&line) {
            continue;
        }
        match last {
            Some(most) => {
                kept.push_back(line);
                if kept.len() > most {
                    kept.pop_front();
                }
            }
            None => print(&line, as_json),
        }
    }
    kept.iter().for_each(|line| print(line, as_json));
    Ok(())
}

/// The raw line is safe to print: whatever could act on a terminal is escaped in it.
fn print(line: &[u8], as_json: bool) {
    let text = if as_json { String::from_utf8_lossy(line).into_owned() } else { render_line(line) };
    screen::out(&format!("{text}\n"));
}

async fn tail(connection: &mut Connection, person: &Person, as_json: bool) -> Result<(), Failure> {
    let mut file = open(connection).await?;
    file.seek(SeekFrom::End(0)).map_err(read_failed)?;
    let mut watch = crate::console::events::watch(person).await?;
    let mut rest = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            event = watch.recv() => if event.is_none() {
                return Err(Failure::lost("it hung up"));
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        file.read_to_end(&mut rest).map_err(read_failed)?;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            print(line.strip_suffix(b"\n").unwrap_or(&line), as_json);
        }
    }
}
