//! Saving what runs in a session's sandbox, and going back to it.
//!
//! Memory and processes are saved, files are not: what is restored works on the session's layer as it is. It comes in a sandbox
//! of its own, through the start gate like every other, and takes the place of what ran until then. Both happen while nothing
//! runs for anybody: a stream leads from a program to a client, and neither can be saved.
#![forbid(unsafe_code)]

use super::pool;
use super::sandboxes::{Plan, Sandbox, Workspace};
use super::sessions::Session;
use super::state::State;
use crate::verbs::Saved;
use closedpaw_protocol::{ErrorCode, Refusal, Tier};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long what has just ended may take to be written down.
const SETTLES: Duration = Duration::from_secs(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

impl Session {
    /// Whether there is anything of it that can be saved, or was.
    pub(super) fn can_be_saved(&self) -> Result<(), Refusal> {
        if self.isolation != Tier::Gvisor {
            let detail =
                format!("a sandbox of the tier {} cannot be saved; gvisor's can", self.isolation.name());
            return Err(Refusal::because(ErrorCode::NotAvailable, detail));
        }
        if self.pool.is_some() {
            let detail = "with commands = \"apart\" nothing of one command is there for the next";
            return Err(Refusal::because(ErrorCode::NotAvailable, detail));
        }
        Ok(())
    }

    fn at_rest(&self) -> Result<(), Refusal> {
        match self.works.borrow().len() {
            0 if !self.saving.get() => Ok(()),
            0 => Err(Refusal::because(ErrorCode::Busy, "its state is being saved or restored")),
            running => Err(Refusal::because(
                ErrorCode::Busy,
                format!("{running} running in it: let it end, or end it, first"),
            )),
        }
    }

    /// Saves what runs in it; what was saved before stays until that has gone well.
    pub(super) async fn checkpoint(&self, state: &State) -> Result<(), Refusal> {
        let place = self.saved.get().map_or(Saved::First, Saved::other);
        let _nobody_else = Alone::begin(self).await?;
        let current = self.current();
        current.ready().await?;
        let end = Instant::now() + SETTLES;
        loop {
            match current.save(place, &state.launcher).await {
                // It is up, and what has started it has not quite ended.
                Err(refusal) if refusal.code == ErrorCode::Busy && Instant::now() < end => {
                    tokio::time::sleep(PAUSE).await;
                }
                saved => break saved?,
            }
        }
        self.saved.set(Some(place));
        Ok(self.remember()?)
    }

    /// Puts what was saved last in the place of what runs now.
    pub(super) async fn restore(&self, state: &State) -> Result<(), Refusal> {
        let nothing = || Refusal::because(ErrorCode::NotAvailable, "nothing of this session was saved");
        let place = self.saved.get().ok_or_else(nothing)?;
        let _nobody_else = Alone::begin(self).await?;
        let sandbox = self.begin_from(place, state)?;
        if let Err(refusal) = sandbox.ready().await {
            sandbox.kill();
            return Err(refusal);
        }
        let before = self.restored.replace(Some(sandbox));
        let stopped = match before {
            Some(before) => {
                before.kill();
                Ok(())
            }
            // The layer is its own, so it stays.
            None => self.sandbox.hold(&state.launcher).await,
        };
        stopped?;
        Ok(self.remember()?)
    }

    fn begin_from(&self, place: Saved, state: &State) -> Result<Rc<Sandbox>, Refusal> {
        let policy = state.policy();
        let profile = policy.profiles.get(&self.profile).ok_or(ErrorCode::UnknownProfile)?;
        let workspace = match self.workspace {
            Some(_) => Workspace::Of(self.sandbox.id),
            None => Workspace::None,
        };
        let (uid, gid, isolation, limits) = (self.uid, self.gid, self.isolation, pool::limits(profile));
        let (from, image) = (Some((self.sandbox.id, place)), profile.image.clone());
        let (devices, strict_io) = pool::hardware(profile);
        let calls = policy.calls(profile);
        let plan = Plan { uid, gid, isolation, limits, workspace, from, image, devices, strict_io, calls };
        Sandbox::begin(&state.launcher, plan)
    }
}

/// While there is one, no work begins in its session, and nothing else of it is saved or restored.
struct Alone<'a>(&'a Session);

impl<'a> Alone<'a> {
    async fn begin(session: &'a Session) -> Result<Self, Refusal> {
        let end = Instant::now() + SETTLES;
        while let Err(refusal) = session.at_rest() {
            if Instant::now() >= end {
                return Err(refusal);
            }
            tokio::time::sleep(PAUSE).await;
        }
        session.saving.set(true);
        Ok(Self(session))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.saving.set(false);
    }
}
