//! The end of a session: what changed, and that the log holds.
#![forbid(unsafe_code)]

use super::changes::{self, Change};
use super::screen::{Screen, visible};
use super::session::{Person, Session};
use crate::client::{Connection, heads};
use crate::commands::audit;
use crate::failure::Failure;

/// How many changed paths are shown.
const SHOWN: usize = 20;

/// Shows what the session changed in its layer.
pub async fn changed(connection: &mut Connection, session: &Session, screen: &mut Screen) {
    let Some((_, folder)) = &session.workspace else { return };
    match changes::of_session(connection, session.seat.session, folder).await {
        Ok(changes) if changes.paths.is_empty() => {}
        Ok(changes) => {
            screen.note("changed in the sandbox's own layer, which is thrown away now:");
            for (path, change) in changes.paths.iter().take(SHOWN) {
                let mark = match change {
                    Change::Added => '+',
                    Change::Changed => '~',
                    Change::Removed => '-',
                };
                // A sandbox names its files as it likes; one name is one line.
                screen.note(&format!("  {mark} {}", visible(&path.display().to_string())));
            }
            if changes.paths.len() > SHOWN || changes.cut {
                screen.note(&format!(
                    "  … {} in all{}",
                    changes.paths.len(),
                    if changes.cut { " at least" } else { "" }
                ));
            }
        }
        Err(failure) => screen.problem(&format!("what changed cannot be shown: {failure}")),
    }
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
