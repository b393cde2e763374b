//! Open questions and the answers to them.
//!
//! They live in memory only: with a restart or another policy they are gone, and what they were about is asked again.
#![forbid(unsafe_code)]

use closedpaw_protocol::message::Question;
use closedpaw_protocol::{ApprovalId, Digest, ErrorCode, Revision, SessionId};
use closedpaw_rules::{Question as Wanted, Role, Subject};
use std::collections::BTreeMap;

/// The most open questions of one session.
const MOST: usize = 16;

/// How long a granted question may wait to be used, in seconds.
const GRANTED: u64 = 60;

/// How many ids of used questions are remembered, to tell a used approval from an unknown one.
const REMEMBERED: usize = 1024;

/// One person's yes.
#[derive(Debug, Clone)]
pub(super) struct Yes {
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) until: u64,
}

/// A question with what has been said to it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) question: Question,
    asker_groups: Vec<u32>,
    wanted: Wanted,
    yes: Vec<Yes>,
    granted: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<ApprovalId, Open>,
    used: Vec<ApprovalId>,
}

/// Whether an answer settled the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It may run.
    Granted,
    /// It may not.
    Refused,
    /// More people have to say yes.
    NotYet,
}

impl Open {
    /// Whether this person is one the rule names.
    pub(super) fn may_answer(&self, uid: u32, groups: &[u32]) -> bool {
        let asker = Subject { uid: self.question.uid, groups: &self.asker_groups, role: Role::Agent };
        self.wanted.may_answer(&asker, uid, groups)
    }
}

impl Questions {
    /// Puts a question; the same action of the same session is one question.
    pub(super) fn put(
        &mut self,
        question: Question,
        asker_groups: Vec<u32>,
        wanted: Wanted,
    ) -> Result<Question, ErrorCode> {
        let of_session =
            || self.open.values().filter(|open| open.question.action.session == question.action.session);
        if let Some(same) = of_session().find(|open| open.question.digest == question.digest && !open.granted)
        {
            return Ok(same.question.clone());
        }
        if of_session().count() >= MOST {
            return Err(ErrorCode::TooManyQuestions);
        }
        let open = Open { question: question.clone(), asker_groups, wanted, yes: Vec::new(), granted: false };
        self.open.insert(question.id, open);
        Ok(question)
    }

    /// The question of that name.
    pub(super) fn get(&self, id: ApprovalId) -> Result<&Open, ErrorCode> {
        self.open.get(&id).ok_or_else(|| self.absent(id))
    }

    fn absent(&self, id: ApprovalId) -> ErrorCode {
        if self.used.contains(&id) { ErrorCode::ApprovalUsed } else { ErrorCode::ApprovalUnknown }
    }

    /// Takes note of a yes or no that was found to come from somebody who may give it.
    pub(super) fn answer(
        &mut self,
        id: ApprovalId,
        granted: bool,
        yes: Yes,
        now: u64,
    ) -> Result<Settled, ErrorCode> {
        if !granted {
            self.open.remove(&id).ok_or(ErrorCode::ApprovalUnknown)?;
            return Ok(Settled::Refused);
        }
        let absent = self.absent(id);
        let open = self.open.get_mut(&id).ok_or(absent)?;
        open.yes.push(Yes { until: now + GRANTED, ..yes });
        let asker = Subject { uid: open.question.uid, groups: &open.asker_groups, role: Role::Agent };
        if open.wanted.is_answered(&asker, &approvals(&open.yes), now) {
            open.granted = true;
            open.question.until = now + GRANTED;
            return Ok(Settled::Granted);
        }
        Ok(Settled::NotYet)
    }

    /// What was said to a question that is now to be used for exactly this action; it cannot be used again.
    pub(super) fn take(
        &mut self,
        id: ApprovalId,
        session: SessionId,
        digest: Digest,
        revision: Revision,
        now: u64,
    ) -> Result<Vec<Yes>, ErrorCode> {
        let open = self.get(id)?;
        let question = &open.question;
        if question.action.session != session
            || question.digest != digest
            || question.action.revision != revision
        {
            return Err(ErrorCode::ApprovalMismatch);
        }
        if now >= question.until {
            return Err(ErrorCode::ApprovalExpired);
        }
        if !open.granted {
            return Err(ErrorCode::ApprovalUnknown);
        }
        let taken = self.open.remove(&id).map(|open| open.yes).unwrap_or_default();
        self.used.push(id);
        if self.used.len() > REMEMBERED {
            self.used.remove(0);
        }
        Ok(taken)
    }

    /// The questions this person may answer.
    pub(super) fn for_person(&self, uid: u32, groups: &[u32]) -> Vec<Question> {
        let wanted = |open: &&Open| !open.granted && open.may_answer(uid, groups);
        self.open.values().filter(wanted).map(|open| open.question.clone()).collect()
    }

    /// Takes out the questions that nobody answered, or nobody used, in time.
    pub(super) fn lapse(&mut self, now: u64) -> Vec<Question> {
        self.open
            .extract_if(.., |_, open| now >= open.question.until)
            .map(|(_, open)| open.question)
            .collect()
    }

    /// Takes out every question of a session that ended, or all of them.
    pub(super) fn forget(&mut self, session: Option<SessionId>) -> Vec<Question> {
        let of = |open: &Open| session.is_none_or(|session| open.question.action.session == session);
        self.open.extract_if(.., |_, open| of(open)).map(|(_, open)| open.question).collect()
    }
}

/// In the form that rules decide on.
pub(super) fn approvals(yes: &[Yes]) -> Vec<closedpaw_rules::Approval<'_>> {
    yes.iter()
        .map(|yes| closedpaw_rules::Approval { uid: yes.uid, groups: &yes.groups, until: yes.until })
        .collect()
}
