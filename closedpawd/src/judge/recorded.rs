//! Fifth: the intent is on disk.
#![forbid(unsafe_code)]

use super::approved::Approved;
use super::audit::Written;
use super::authorised::Deed;
use super::pipeline::Ways;
use super::state::State;
use closedpaw_ledger::record::{Intent, Verdict};
use closedpaw_protocol::Refusal;

/// Proof that the intent is on disk, and with it the use of its approval. The only thing that is carried out.
pub struct Recorded {
    pub(super) approved: Approved,
    pub(super) written: Written,
}

impl Approved {
    /// Writes the intent and waits until it is on disk.
    ///
    /// # Errors
    /// `audit-unwritable`: nothing was done, and an approval that was named is used up.
    pub async fn record(self, ways: &Ways) -> Result<Recorded, Refusal> {
        self.record_in(&ways.state).await
    }

    async fn record_in(self, state: &State) -> Result<Recorded, Refusal> {
        let authorised = &self.authorised;
        // A session is named by the opening itself; its record follows once it has a name.
        let session = match &authorised.deed {
            Deed::Work(session) => session.id,
            Deed::Open(_)
            | Deed::Apply(_)
            | Deed::Kill(_)
            | Deed::Checkpoint(_)
            | Deed::Restore(_)
            | Deed::List
            | Deed::Log
            | Deed::Consistency(_)
            | Deed::Halt { .. } => authorised.action.session,
        };
        let intent = Intent {
            session: session.0,
            uid: authorised.speaker.uid,
            key: authorised.speaker.key.to_string(),
            action: authorised.action.summary(),
            digest: authorised.digest.0,
            verdict: if self.by_person() { Verdict::Ask } else { Verdict::Allow },
            rule: self.rule(),
            policy: authorised.policy.revision.short(),
            label: authorised.label.to_string(),
            approval: self.approval.map(|id| id.to_string()),
        };
        let written = state.audit.durable(intent).await?;
        Ok(Recorded { approved: self, written })
    }
}
