//! The end of a session: what it wrote, and that the log holds.
#![forbid(unsafe_code)]

use super::screen::Screen;
use super::session::{Person, Session};
use crate::client::{Connection, heads};
use crate::commands::audit;
use crate::failure::Failure;
use crate::staged::choose;
use crate::staged::origin;
use crate::staged::show;
use crate::staged::survey::Survey;
use closedpaw_protocol::message::Request;

/// How many changed paths are shown.
const SHOWN: usize = 20;

/// Whether a session's layer is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// It wrote something, or nobody knows.
    Something,
    /// It holds nothing that the folder does not.
    Nothing,
}

/// Shows what the session changed in its layer, which stays when it ends.
pub async fn changed(connection: &mut Connection, session: &Session, screen: &mut Screen) -> Wrote {
    if session.workspace.is_none() {
        return Wrote::Nothing;
    }
    match survey(connection, session).await {
        Ok((survey, _)) if survey.entries.is_empty() && !survey.cut => Wrote::Nothing,
        // The daemon keeps no layer of a session in which it has granted nothing.
        Ok((_, 0)) => {
            if let Some((from, _)) = session.from {
                let from = from.short();
                screen.note(&format!("nothing was done in it; what it began with is staged as {from}"));
            }
            Wrote::Nothing
        }
        Ok((survey, _)) => {
            for entry in survey.entries.values().take(SHOWN) {
                screen.note(&format!("  {}", show::head(entry)));
                if let Some(why) = &entry.refused {
                    screen.note(&format!("    never applied: {why}"));
                }
            }
            let (count, cut) = (survey.entries.len(), if survey.cut { " at least" } else { "" });
            if count > SHOWN {
                screen.note("  …");
            }
            let s = if count == 1 { "" } else { "s" };
            screen.note(&format!("staged: {count} change{s}{cut} · closedpawctl diff · apply · discard"));
            Wrote::Something
        }
        Err(failure) => {
            screen.problem(&format!("what changed cannot be shown: {failure}"));
            Wrote::Something
        }
    }
}

/// What says at the beginning whose work the session has, if another one's.
pub fn began(session: &Session) -> Option<String> {
    let (from, count) = session.from?;
    let s = if count == 1 { "" } else { "s" };
    Some(format!("begins with {count} change{s} of {}", from.short()))
}

/// What differs, and how many pieces of work were granted.
async fn survey(connection: &mut Connection, session: &Session) -> Result<(Survey, u64), Failure> {
    let all = choose::list(connection).await?;
    let own = all.iter().find(|state| state.session == session.seat.session);
    let (Some(state), Some((_, folder))) = (own, &session.workspace) else {
        return Err(Failure::lost("the session is not there any more"));
    };
    let merged = choose::merged(connection, state).await?;
    let survey = Survey::begun(&merged, folder, state.since, origin::of(state.session));
    Ok((survey, state.generation))
}

/// Ends a session. One that has ended already is ended; one that wrote nothing leaves nothing.
pub async fn close(connection: &mut Connection, session: &Session, wrote: Wrote) {
    let (id, has_layer) = (session.seat.session, session.workspace.is_some());
    if wrote == Wrote::Nothing && has_layer {
        origin::forget(id);
        drop(connection.request(&Request::Discard { session: id }, &[]).await);
    }
    drop(connection.request(&Request::Close { session: id }, &[]).await);
}

/// Checks the whole log against its head and the one kept from before, and says so.
pub async fn log_holds(
    connection: &mut Connection,
    person: &Person,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let report = audit::verify(connection, person).await?;
    heads::check_and_keep(connection, &person.pinned).await?;
    let place = person.daemon.audit();
    screen.note(&format!("audit log: {} ({} records, verified)", place.display(), report.records));
    Ok(())
}
