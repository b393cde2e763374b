//! Beginning a session with the staged work of another one.
//!
//! Compared is before there is a session, carried over before anything runs in it. Each has its own work from then on.
#![forbid(unsafe_code)]

use super::screen::visible;
use crate::client::{Connection, random};
use crate::failure::Failure;
use crate::staged::fork::{Fork, Stuck};
use crate::staged::survey::Survey;
use crate::staged::{choose, origin};
use closedpaw_protocol::message::StagedState;
use closedpaw_protocol::{ErrorCode, Label, Refusal, SessionId};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The session whose work another one begins with.
pub struct Begun {
    state: StagedState,
}

/// Its work, and where it lies.
pub struct Work {
    state: StagedState,
    merged: OwnedFd,
    fork: Fork,
}

impl Begun {
    /// The one that is meant: by the beginning of its name, open or kept.
    pub async fn find(connection: &mut Connection, name: &str) -> Result<Self, Failure> {
        Ok(Self { state: choose::one(connection, Some(name)).await? })
    }

    /// The folder that it worked on.
    pub fn workspace(&self) -> &Path {
        Path::new(&self.state.workspace)
    }

    /// Compares what it sees with the folder.
    pub async fn compare(self, connection: &mut Connection, workspace: &OwnedFd) -> Result<Work, Failure> {
        let state = self.state;
        let merged = choose::merged(connection, &state).await?;
        let survey = Survey::begun(&merged, workspace, state.since, origin::of(state.session));
        let fork = Fork::of(survey).map_err(|why| stuck(&state, &why))?;
        Ok(Work { state, merged, fork })
    }
}

impl Work {
    /// What it has read.
    pub fn label(&self) -> Label {
        self.state.label.clone()
    }

    /// Which session's it is.
    pub fn session(&self) -> SessionId {
        self.state.session
    }

    /// How many paths.
    pub fn count(&self) -> usize {
        self.fork.len()
    }

    /// Carries all of it over into a session in which nothing has run.
    ///
    /// # Errors
    /// If anything of it could not be; then nothing may run there.
    pub async fn carry_over(&self, connection: &mut Connection, into: SessionId) -> Result<(), Failure> {
        let to = choose::view(connection, into).await?;
        let tag = hex::encode(random::<8>()?);
        let carried = self.fork.carry(&self.merged, &to, &tag, &mut || true);
        carried.map_err(|why| stuck(&self.state, &why))?;
        self.check(connection).await?;
        origin::keep(into, self.state.session, self.fork.begun)
    }

    /// Nothing was done in it meanwhile, nor was it discarded: what was carried over, and what is said of it, is all of it.
    async fn check(&self, connection: &mut Connection) -> Result<(), Failure> {
        let all = choose::list(connection).await?;
        let now = all.iter().find(|state| state.session == self.state.session);
        match now {
            None => Err(Refusal::from(ErrorCode::UnknownSession).into()),
            Some(now) if (now.generation, &now.label) == (self.state.generation, &self.state.label) => Ok(()),
            Some(_) => {
                let (code, cause) = (ErrorCode::StagedChanged, "more was done in the session meanwhile");
                Err(Failure::new(code.word(), code.exit_code(), cause, "try again when it rests"))
            }
        }
    }
}

/// Nothing runs where not all of the work is.
fn stuck(state: &StagedState, stuck: &Stuck) -> Failure {
    let name = state.session.short();
    let at = if stuck.path.is_empty() { String::new() } else { format!("{}: ", visible(&stuck.path)) };
    let cause = format!("{at}{}; without all of what {name} wrote, nothing runs", visible(&stuck.why));
    let next =
        format!("closedpawctl diff --session {name}, apply what is wanted of it, and begin without --from");
    Failure::new("not-forked", 75, cause, next)
}
