//! What was decided, by which rule, and what it takes.
#![forbid(unsafe_code)]

use crate::{Approval, Network, Subject};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name of a rule; cheap to copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName(pub(crate) Arc<str>);

impl Deref for RuleName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Bounds a rule sets on what it permits; `None` leaves the profile's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Seconds of running time.
    pub seconds: Option<u32>,
    /// Bytes of output.
    pub output: Option<u64>,
}

impl Limits {
    /// The tighter of the two, bound by bound.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, None) | (None, one) => one,
            }
        }
        Self { seconds: least(self.seconds, other.seconds), output: least(self.output, other.output) }
    }

    /// Larger is roomier; no bound is the roomiest.
    pub(crate) fn room(self) -> (u32, u64) {
        (self.seconds.unwrap_or(u32::MAX), self.output.unwrap_or(u64::MAX))
    }
}

/// Who may answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approver {
    /// The user whose session asks.
    Asker,
    /// This user.
    Uid(u32),
    /// Any member of this group.
    Group(u32),
}

/// How many yeses of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Of whom.
    pub approver: Approver,
    /// How many different users.
    pub approvers: u8,
}

impl Want {
    /// Whether this user's yes counts here.
    pub fn counts(&self, asker: u32, uid: u32, groups: &[u32]) -> bool {
        match self.approver {
            Approver::Asker => uid == asker,
            Approver::Uid(wanted) => uid == wanted,
            Approver::Group(wanted) => groups.contains(&wanted),
        }
    }

    /// The users whose living approvals meet this; `None` if they do not suffice.
    pub(crate) fn met(&self, asker: u32, approvals: &[Approval<'_>], now: u64) -> Option<Vec<u32>> {
        let mut uids: Vec<u32> = approvals
            .iter()
            .filter(|one| now < one.until && self.counts(asker, one.uid, one.groups))
            .map(|one| one.uid)
            .collect();
        uids.sort_unstable();
        uids.dedup();
        (uids.len() >= usize::from(self.approvers)).then_some(uids)
    }
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is wanted; every one must be met. Sorted, without repetition, never empty.
    pub wants: Vec<Want>,
    /// Seconds until silence is a no.
    pub wait: u32,
    /// Whether the answer may be a lease.
    pub lease: bool,
}

impl Question {
    /// Whether this user's answer counts for anything that is wanted.
    pub fn may_answer(&self, asker: &Subject<'_>, uid: u32, groups: &[u32]) -> bool {
        self.wants.iter().any(|want| want.counts(asker.uid, uid, groups))
    }

    /// Whether these approvals are all that is wanted.
    pub fn is_answered(&self, asker: &Subject<'_>, approvals: &[Approval<'_>], now: u64) -> bool {
        self.wants.iter().all(|want| want.met(asker.uid, approvals, now).is_some())
    }
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on, within these bounds.
    Allow {
        /// The bounds of what carries it.
        limits: Limits,
    },
    /// Ask first.
    Ask(Question),
    /// No.
    Deny {
        /// No rule speaks for it, as opposed to: a rule speaks against it.
        default: bool,
    },
}

impl Verdict {
    /// The word policy files and people use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Ask(_) => "ask",
            Self::Deny { .. } => "deny",
        }
    }
}

/// What lifted an `ask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SatisfiedBy {
    /// The telling arguments were typed by the person, and nothing private goes along.
    Grounded,
    /// A rule allows it: the `ask` was only for what nothing else allows.
    Allowed,
    /// The yes of these users.
    Approvals(Vec<u32>),
}

/// An `ask` that was lifted, and what lifted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Satisfied {
    /// The rule.
    pub rule: RuleName,
    /// What lifted it.
    pub by: SatisfiedBy,
}

/// The answer to a [`Query`](crate::Query).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// The outcome.
    pub verdict: Verdict,
    /// The deciding rule; none for the denial of what no rule speaks for.
    pub rule: Option<RuleName>,
    /// What the deciding rule says to the person, filled in. For the person, not the agent.
    pub why: Option<String>,
    /// Every `ask` that was lifted, by name.
    pub satisfied: Vec<Satisfied>,
    /// Every other rule that matched, by name.
    pub also_matched: Vec<RuleName>,
    /// Where a connection for this action must not end, whatever its host's name resolves to. Sorted.
    pub denied_addresses: Vec<Network>,
}

impl Decision {
    /// Whether the action may go on now.
    pub fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allow { .. })
    }
}
