//! `closedpawctl staged` and `closedpawctl discard`: what is kept, and throwing it away.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::{Daemon, heads};
use crate::console::session::Person;
use crate::failure::Failure;
use crate::staged::manifest::Manifest;
use crate::staged::{choose, origin};
use closedpaw_protocol::message::{Request, StagedState};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// What to throw away.
#[derive(Debug, Clone, clap::Args)]
pub struct Discard {
    /// Which session's work, or the beginning of its name; the last of this folder's if not given.
    #[arg(long, short, value_name = "SESSION")]
    pub session: Option<String>,
    /// Everything that is staged, whatever folder it is for.
    #[arg(long, conflicts_with = "session")]
    pub all: bool,
}

/// Lists it.
pub async fn list(daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let all = choose::list(&mut connection).await?;
    if as_json {
        let all: Vec<_> = all.iter().map(of).collect();
        json(&json!(all));
        return Ok(());
    }
    if all.is_empty() {
        line("nothing is staged");
    }
    for state in &all {
        let when = match state.ended {
            Some(ended) => format!("ended {} ago", ago(ended)),
            None => "open".to_owned(),
        };
        line(&format!("{}  {when:<16} {}  [{}]", state.session, state.workspace, state.label));
    }
    Ok(())
}

fn of(state: &StagedState) -> serde_json::Value {
    json!({
        "session": state.session.to_string(),
        "workspace": state.workspace,
        "isolation": state.isolation.name(),
        "profile": state.profile,
        "label": state.label.to_string(),
        "generation": state.generation,
        "since": state.since,
        "ended": state.ended,
    })
}

fn ago(time: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now.saturating_sub(time) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86400),
    }
}

/// Throws it away.
pub async fn discard(discard: Discard, daemon: &Daemon) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    let meant = match discard.all {
        true => {
            choose::list(&mut connection).await?.into_iter().filter(|state| state.ended.is_some()).collect()
        }
        false => vec![choose::one(&mut connection, discard.session.as_deref()).await?],
    };
    if meant.iter().any(|state| state.ended.is_none()) {
        let cause = "the session is still open";
        return Err(Failure::new(
            "session-open",
            75,
            cause,
            "end it first: closedpawctl sandbox list, then kill",
        ));
    }
    for state in &meant {
        connection.request(&Request::Discard { session: state.session }, &[]).await?;
        Manifest::forget(state.session);
        origin::forget(state.session);
        line(&format!("{} was discarded: {}", state.session, state.workspace));
    }
    if meant.is_empty() {
        line("nothing is staged");
    }
    heads::check_and_keep(&mut connection, &person.pinned).await.map(drop)
}
