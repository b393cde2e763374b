//! The way of a statement, whole: each step takes the one before it, so none can be left out.
//!
//! | step | proves |
//! |---|---|
//! | [`Received`] | a bounded statement of this version, with at most the descriptors a statement may have |
//! | [`Authenticated`] | who says it: key, role, user, connection, in order |
//! | [`Authorised`] | what policy says to it, on the label joined with its own sources |
//! | [`Approved`] | policy allows it, or whoever it wants asked said yes to exactly this |
//! | [`Recorded`] | the intent is on disk |
//!
//! Only a [`Recorded`] can be carried out:
//!
//! ```
//! use closedpawd::judge::{approved::Approved, recorded::Recorded, pipeline::Ways};
//! async fn whole(approved: Approved, ways: &Ways) { let recorded: Recorded = approved.record(ways).await.unwrap(); ways.execute(recorded).await; }
//! ```
//!
//! ```compile_fail
//! use closedpawd::judge::{approved::Approved, recorded::Recorded, pipeline::Ways};
//! async fn skipped(approved: Approved, ways: &Ways) { ways.execute(approved).await; }
//! ```
#![forbid(unsafe_code)]

use super::approved::{Approved, Decided};
use super::authenticated::{Authenticated, Matter};
use super::authorised::Authorised;
use super::connection::Connection;
use super::desk;
use super::execute;
use super::received::Received;
use super::recorded::Recorded;
use super::state::State;
use closedpaw_protocol::Refusal;
use closedpaw_protocol::message::{Head, Reply, Signed};
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A reply, and the descriptor that goes with it.
pub(super) type Answer = (Reply, Option<OwnedFd>);

/// What the last two steps need; an opaque handle outside the judge.
pub struct Ways {
    pub(super) state: Rc<State>,
}

impl Ways {
    /// Carries out what is recorded.
    pub async fn execute(&self, recorded: Recorded) {
        drop(execute::execute(recorded, &self.state).await);
    }
}

/// The whole daemon on one screen.
pub(super) async fn handle(
    signed: Signed,
    descriptors: Vec<OwnedFd>,
    connection: &Connection,
    state: &Rc<State>,
) -> Result<(Answer, Option<Head>), Refusal> {
    let received: Received = Received::new(signed, descriptors)?;
    let authenticated: Authenticated = received.authenticate(connection, state)?;
    let authenticated = match authenticated.matter() {
        // Reading what is one's own, and answering a question: nothing is done to the machine.
        Matter::Own => return desk::own(authenticated, connection, state).await.map(with_latest_head),
        Matter::Answer => return desk::answer(authenticated, state).await.map(with_latest_head),
        Matter::Action => authenticated,
    };
    let authorised: Authorised = authenticated.authorise(state)?;
    let approved: Approved = match authorised.approve(state).await? {
        Decided::Approved(approved) => *approved,
        Decided::Pending(question) => return Ok(with_latest_head((Reply::Pending(question), None))),
    };
    if approved.only_reads() {
        return desk::read(approved, state);
    }
    let ways = Ways { state: Rc::clone(state) };
    let recorded: Recorded = approved.record(&ways).await?;
    execute::execute(recorded, state).await.map(with_latest_head)
}

/// Most answers go out with whatever head there is by then; a proof goes with the one it leads to.
fn with_latest_head(answer: Answer) -> (Answer, Option<Head>) {
    (answer, None)
}
