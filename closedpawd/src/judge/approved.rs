//! Fourth: whoever policy wants asked has said yes to exactly this; or it is asked now.
#![forbid(unsafe_code)]

use super::authorised::{Authorised, decide, denied};
use super::clock;
use super::questions::{self, Yes};
use super::state::State;
use closedpaw_ledger::record::Asked;
use closedpaw_protocol::message::{Event, Question};
use closedpaw_protocol::{ApprovalId, Effect, ErrorCode, Refusal, SandboxVerb};
use closedpaw_rules::{Decision, Limits, Question as Wanted, SatisfiedBy, Verdict};

/// An action that policy allows, if need be because it was answered.
pub struct Approved {
    pub(super) authorised: Authorised,
    pub(super) limits: Limits,
    /// The question whose answer is used up by this.
    pub(super) approval: Option<ApprovalId>,
}

/// What came of it.
pub(super) enum Decided {
    Approved(Box<Approved>),
    Pending(Box<Question>),
}

impl Authorised {
    /// Uses the approval that is named; puts the question where none is.
    pub(super) async fn approve(self, state: &State) -> Result<Decided, Refusal> {
        match self.decision.verdict.clone() {
            Verdict::Allow { limits } => {
                Ok(Decided::Approved(Box::new(Approved { authorised: self, limits, approval: None })))
            }
            Verdict::Ask(wanted) => match (self.approval, self.speaker.session.is_some()) {
                // A person's own statement is that person's yes.
                (_, false) => self.said_by_person(),
                (Some(id), true) => self.answered(id, state),
                (None, true) => self.ask(wanted, state).await,
            },
            // `authorise` has refused it; saying so again costs nothing.
            Verdict::Deny { .. } => Err(ErrorCode::Denied.into()),
        }
    }

    fn said_by_person(self) -> Result<Decided, Refusal> {
        let now = clock::seconds();
        let own = Yes { uid: self.speaker.uid, groups: self.speaker.groups.clone(), until: now + 1 };
        self.decide_again(&[own], None).map_err(|_| ErrorCode::OtherApprover.into())
    }

    fn answered(self, id: ApprovalId, state: &State) -> Result<Decided, Refusal> {
        let (session, revision) = (self.action.session, self.action.revision);
        let taken =
            state.questions.borrow_mut().take(id, session, self.digest, revision, clock::seconds())?;
        self.decide_again(&taken, Some(id)).map_err(|this| match this.decision.verdict {
            Verdict::Deny { .. } => {
                denied(&this.speaker, this.action.clone(), this.label.clone(), &this.decision, state)
            }
            // The label rose since, or somebody's yes ran out.
            Verdict::Ask(_) | Verdict::Allow { .. } => ErrorCode::ApprovalExpired.into(),
        })
    }

    /// Decides at the moment of use, with what was said; gives itself back where that does not suffice.
    fn decide_again(mut self, yes: &[Yes], id: Option<ApprovalId>) -> Result<Decided, Box<Self>> {
        self.decision =
            decide(&self.policy, &self.speaker, &self.action, &self.label, &questions::approvals(yes));
        match self.decision.verdict {
            Verdict::Allow { limits } => {
                Ok(Decided::Approved(Box::new(Approved { authorised: self, limits, approval: id })))
            }
            Verdict::Ask(_) | Verdict::Deny { .. } => Err(Box::new(self)),
        }
    }

    async fn ask(self, wanted: Wanted, state: &State) -> Result<Decided, Refusal> {
        let Some(session) = &self.speaker.session else { return Err(ErrorCode::Internal.into()) };
        let question = Question {
            id: ApprovalId(super::random()?),
            digest: self.digest,
            label: self.label.clone(),
            workspace: session.workspace.clone().unwrap_or_default(),
            rule: self.decision.rule.as_deref().unwrap_or_default().to_owned(),
            why: self.decision.why.clone().unwrap_or_default(),
            uid: self.speaker.uid,
            until: clock::seconds() + u64::from(wanted.wait),
            wanted: wanted.wants.iter().map(|want| want.approvers).max().unwrap_or(1),
            lease: wanted.lease,
            action: self.action.clone(),
        };
        let fresh = question.id;
        let question = state.questions.borrow_mut().put(question, self.speaker.groups.clone(), wanted)?;
        if question.id == fresh {
            state.audit.durable(asked(&question)).await?;
            let event = Event::Asked(Box::new(question.clone()));
            state.watchers.tell_consoles(&event, |uid, groups| {
                state.questions.borrow().get(fresh).is_ok_and(|open| open.may_answer(uid, groups))
            });
        }
        Ok(Decided::Pending(Box::new(question)))
    }
}

fn asked(question: &Question) -> Asked {
    Asked {
        session: question.action.session.0,
        uid: question.uid,
        id: question.id.to_string(),
        action: question.action.summary(),
        digest: question.digest.0,
        rule: question.rule.clone(),
        label: question.label.to_string(),
        until_ms: question.until * 1000,
    }
}

impl Approved {
    /// Whether carrying it out changes nothing.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.authorised.action.effect, Effect::Log | Effect::Sandbox { verb: SandboxVerb::List, .. })
    }

    pub(super) fn decision(&self) -> &Decision {
        &self.authorised.decision
    }

    /// The rule that allowed it, or whose ask was satisfied.
    pub(super) fn rule(&self) -> String {
        self.decision().rule.as_deref().unwrap_or_default().to_owned()
    }

    /// Whether a person's yes was what satisfied policy.
    pub(super) fn by_person(&self) -> bool {
        self.decision().satisfied.iter().any(|satisfied| matches!(satisfied.by, SatisfiedBy::Approvals(_)))
    }
}
