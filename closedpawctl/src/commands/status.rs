//! `closedpawctl status`: the daemon's state.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::Daemon;
use crate::console::session::Person;
use crate::failure::Failure;
use crate::staged::choose;
use closedpaw_protocol::message::{Reply, Request, Status};
use serde_json::json;

/// Asks the daemon.
pub async fn of(daemon: &Daemon) -> Result<Status, Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    match connection.request(&Request::Status, &[]).await? {
        (Reply::Status(status), _) => Ok(status),
        _ => Err(Failure::lost("another answer than a status")),
    }
}

/// The same, and how much is staged of sessions that have ended.
async fn with_staged(daemon: &Daemon) -> Result<(Status, usize), Failure> {
    let status = of(daemon).await?;
    let mut connection = Person::of(daemon)?.connect().await?;
    let staged = choose::list(&mut connection).await?;
    Ok((status, staged.iter().filter(|state| state.ended.is_some()).count()))
}

/// Shows it.
pub async fn run(daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let (status, staged) = with_staged(daemon).await?;
    if as_json {
        json(&json!({
            "version": status.version,
            "revision": status.revision.to_string(),
            "rules": status.rules,
            "policy_error": status.policy_error,
            "runtime": status.runtime.as_ref().ok(),
            "runtime_error": status.runtime.as_ref().err(),
            "limits": status.limits,
            "missing_limits": status.missing,
            "sessions": status.sessions,
            "staged": staged,
            "since": status.since,
            "profiles": status.profiles,
            "halted": status.halted,
        }));
        return Ok(());
    }
    line(&format!("closedpawd {} at {}", status.version, daemon.socket().display()));
    line(&format!(
        "policy {}: {} rules; profiles {}",
        status.revision.short(),
        status.rules,
        status.profiles.join(", ")
    ));
    for error in status.policy_error.iter().flat_map(|error| error.lines()) {
        line(&format!("  a newer policy was refused: {error}"));
    }
    line(&format!("runtime {}", status.runtime.unwrap_or_else(|error| error)));
    line(&format!("limits given: {}; missing: {}", or_none(&status.limits), or_none(&status.missing)));
    line(&format!(
        "your sessions: {}; staged work of ended ones: {staged}{}",
        status.sessions,
        if status.halted { "; everything is stopped" } else { "" }
    ));
    Ok(())
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
