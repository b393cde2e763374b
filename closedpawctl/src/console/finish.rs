//! The end of a session: what it wrote, and that the log holds.
#![forbid(unsafe_code)]

use super::screen::Screen;
use super::session::{Person, Session};
use crate::client::{Connection, heads};
use crate::commands::audit;
use crate::failure::Failure;
use crate::staged::choose;
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
        Ok(survey) if survey.entries.is_empty() && !survey.cut => Wrote::Nothing,
        Ok(survey) => {
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

async fn survey(connection: &mut Connection, session: &Session) -> Result<Survey, Failure> {
    let all = choose::list(connection).await?;
    let own = all.iter().find(|state| state.session == session.seat.session);
    let (Some(state), Some((_, folder))) = (own, &session.workspace) else {
        return Err(Failure::lost("the session is not there any more"));
    };
    let merged = choose::merged(connection, state).await?;
    Ok(Survey::of(&merged, folder, state.since))
}

/// Ends a session. One that has ended already is ended; one that wrote nothing leaves nothing.
pub async fn close(connection: &mut Connection, session: &Session, wrote: Wrote) {
    let (id, has_layer) = (session.seat.session, session.workspace.is_some());
    if wrote == Wrote::Nothing && has_layer {
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
