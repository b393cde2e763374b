//! `closedpawd upkeep`: what a timer does now and then. It checks the whole log against the newest signed head and the head
//! that it published last, prints the newest one, which under systemd puts it into the journal, and names what an
//! administrator will have to do soon.
//!
//! A head in the journal is worth as much as the journal's copies elsewhere: whoever is root here can rewrite both.
#![forbid(unsafe_code)]

use crate::accounts;
use crate::judge::{self, files, headfile};
use crate::paths::Paths;
use closedpaw_ledger::head::SignedHead;
use closedpaw_ledger::verify::Verifier;
use closedpaw_rules::{KeyFile, SourceFile};
use ed25519_dalek::VerifyingKey;
use rustix::fs::statvfs;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// How long before a key expires it is named.
const SOON: u64 = 14 * 24 * 3600;

/// Less room than this for the log is named: a log that cannot be written stops everything.
const ROOM: u64 = 256 << 20;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// Nobody can do it like this.
    #[error("becoming the user closedpaw: {0}")]
    Account(io::Error),
    #[error("giving up everything else: {0}")]
    Confinement(#[from] closedpaw_confine::ConfineError),
    #[error("{what}: {error}")]
    File { what: &'static str, error: io::Error },
    /// The daemon writes one within seconds of its first record.
    #[error("there is a log, but no head of it; start the daemon, and compare the heads that clients hold")]
    NoHead,
    /// Half of one, or something else.
    #[error(transparent)]
    Head(#[from] headfile::NotAHead),
    /// The log is not what the heads say.
    #[error("the audit log does not verify: {0}; keep it as it is, and compare the heads that clients hold")]
    Log(#[from] closedpaw_ledger::verify::Fault),
}

impl Fault {
    fn file(what: &'static str, error: impl Into<io::Error>) -> Self {
        Self::File { what, error: error.into() }
    }

    /// After sysexits(3).
    fn exit_code(&self) -> u8 {
        match self {
            Self::Account(_) => 77,
            Self::Confinement(_) => 71,
            Self::File { .. } => 74,
            Self::Log(_) | Self::NoHead | Self::Head(_) => 70,
        }
    }
}

/// Does it; 0 if the log is what it was, 70 if it is not.
pub fn run(paths: &Paths) -> ExitCode {
    match upkeep(paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!("upkeep: {fault}");
            ExitCode::from(fault.exit_code())
        }
    }
}

fn upkeep(paths: &Paths) -> Result<(), Fault> {
    if nix::unistd::geteuid().is_root() {
        crate::images::upkeep(paths);
    }
    become_judge().map_err(Fault::Account)?;
    judge::confine(paths)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    keys(paths, now);
    room(paths);
    let key = daemon_key(paths)?;
    let published = headfile::published(paths);
    let (newest, before) = (headfile::read(&headfile::newest(paths))?, headfile::read(&published)?);
    let Some(newest) = newest else {
        let empty = fs::metadata(judge::audit_log(&paths.audit())).map_or(true, |log| log.len() == 0);
        return if empty && before.is_none() { Ok(()) } else { Err(Fault::NoHead) };
    };
    let held: Vec<SignedHead> = before.into_iter().chain([newest]).collect();
    verify(paths, key, &held, newest.head.size)?;
    let line = format!("{newest}\n");
    io::stdout().write_all(line.as_bytes()).map_err(|error| Fault::file("standard output", error))?;
    let written = headfile::HeadFile::open(&published).and_then(|mut file| file.write(&newest));
    written.map_err(|error| Fault::file("the published head", error))
}

/// What root has no need of here it does not have.
fn become_judge() -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let account = accounts::judge()?;
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(account.gid.into())?;
        nix::unistd::setuid(account.uid.into())?;
    }
    Ok(())
}

fn daemon_key(paths: &Paths) -> Result<VerifyingKey, Fault> {
    let unusable = |error| Fault::file("the daemon's public key", error);
    let text = fs::read_to_string(paths.daemon_public()).map_err(unusable)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|error| unusable(io::Error::other(error)))?;
    VerifyingKey::from_bytes(&bytes).map_err(|error| unusable(io::Error::other(error)))
}

/// Reads the log as far as the newest head goes; what comes after it may be half a record yet.
fn verify(paths: &Paths, key: VerifyingKey, held: &[SignedHead], size: u64) -> Result<(), Fault> {
    let unreadable = |error| Fault::file("the audit log", error);
    let mut verifier = Verifier::new(Some(key), held)?;
    let log = File::open(judge::audit_log(&paths.audit())).map_err(unreadable)?;
    let mut log = BufReader::with_capacity(1 << 16, log);
    let mut line = Vec::new();
    for _ in 0..size {
        line.clear();
        if log.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        verifier.push(&line)?;
    }
    let report = verifier.finish()?;
    tracing::info!("upkeep: {} records, {} bytes, verified", report.records, report.bytes);
    Ok(())
}

fn keys(paths: &Paths, now: u64) {
    let (texts, problems) = files::read(&paths.etc().join("keys.d"));
    problems.iter().for_each(|problem| tracing::warn!("upkeep: keys: {problem}"));
    for text in &texts {
        match KeyFile::parse(&SourceFile { name: &text.name, text: &text.text }) {
            Ok(key) => {
                if let Some(word) = ends(key.expires, now) {
                    tracing::warn!("upkeep: keys.d/{}: {word}", text.name);
                }
            }
            Err(found) => found.iter().for_each(|problem| tracing::warn!("upkeep: keys: {problem}")),
        }
    }
}

/// What to say of a key that ends then, in unix seconds, if anything.
fn ends(expires: u64, now: u64) -> Option<String> {
    match expires.checked_sub(now) {
        _ if expires == 0 => None,
        None | Some(0) => Some("expired; remove the file, or enrol another key".to_owned()),
        Some(left) if left < SOON => {
            Some(format!("expires in {} days; enrol another key", left.div_ceil(24 * 3600)))
        }
        Some(_) => None,
    }
}

fn room(paths: &Paths) {
    match statvfs(paths.audit()) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM => {
            tracing::warn!(
                "upkeep: {} MiB are free for the audit log; when it cannot be written nothing is done any more",
                disk.f_bavail.saturating_mul(disk.f_frsize) >> 20
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("upkeep: {}: {error}", paths.audit().display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_when_it_ends_soon() {
        let day = 24 * 3600;
        assert_eq!(ends(0, 100 * day), None, "never");
        assert_eq!(ends(115 * day, 100 * day), None);
        assert!(ends(110 * day, 100 * day).unwrap().contains("in 10 days"));
        assert!(ends(100 * day + 1, 100 * day).unwrap().contains("in 1 days"));
        assert!(ends(100 * day, 100 * day).unwrap().contains("expired"));
    }
}
