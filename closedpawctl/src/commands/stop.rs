//! `closedpawctl stop` and `start`: one switch for everything.
#![forbid(unsafe_code)]

use super::line;
use crate::client::Daemon;
use crate::console::session::Person;
use crate::failure::Failure;
use closedpaw_protocol::message::Request;

/// Whose work.
#[derive(Debug, Clone, clap::Args)]
pub struct Whose {
    /// Everybody's, not only yours; policy says who may.
    #[arg(long)]
    all: bool,
}

/// Ends everything and keeps it from beginning again. Comes back when nothing runs any more.
pub async fn stop(whose: &Whose, daemon: &Daemon) -> Result<(), Failure> {
    halt(true, whose.all, daemon).await?;
    let (whose, start) = if whose.all { ("everybody's", "start --all") } else { ("your", "start") };
    line(&format!("stopped: nothing of {whose} work runs, and none begins until closedpawctl {start}"));
    Ok(())
}

/// Lets work begin again.
pub async fn start(whose: &Whose, daemon: &Daemon) -> Result<(), Failure> {
    halt(false, whose.all, daemon).await?;
    line("work may begin again");
    Ok(())
}

async fn halt(on: bool, all: bool, daemon: &Daemon) -> Result<(), Failure> {
    let mut connection = Person::of(daemon)?.connect().await?;
    connection.request(&Request::Halt { on, all }, &[]).await?;
    Ok(())
}
