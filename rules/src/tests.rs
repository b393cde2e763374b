//! What holds for the language as a whole.

mod decisions;
mod explanations;
mod matchers;
mod problems;
mod properties;
mod speed;

use crate::{Approval, Decision, Grounded, Loaded, Policy, Problem, Query, Role, SourceFile, Subject};
use crate::{decide, hypothetical, parse_action_words, parse_source};
use closedpaw_protocol::{Action, Label, Tier};

/// A query that owns what it speaks of.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) role: Role,
    pub(super) action: Action,
    pub(super) label: Label,
    pub(super) grounded: Grounded,
    pub(super) approvals: Vec<(u32, Vec<u32>)>,
}

impl Asked {
    /// An agent of uid 1000 asks, in a session that has read nothing.
    pub(super) fn words(words: &[&str]) -> Self {
        let effect = parse_action_words(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        Self {
            uid: 1000,
            groups: vec![1000],
            role: Role::Agent,
            action: hypothetical(effect, Tier::Gvisor, "default"),
            label: Label::default(),
            grounded: Grounded::NONE,
            approvals: vec![],
        }
    }

    /// The same, separated by spaces.
    pub(super) fn line(line: &str) -> Self {
        Self::words(&line.split(' ').collect::<Vec<_>>())
    }

    pub(super) fn label(mut self, untrusted: &[&str], private: &[&str]) -> Self {
        let sources =
            |texts: &[&str]| texts.iter().map(|text| parse_source(text).unwrap()).collect::<Vec<_>>();
        self.label = Label::new(sources(untrusted), sources(private));
        self
    }

    pub(super) fn approved(mut self, uid: u32, groups: &[u32]) -> Self {
        self.approvals.push((uid, groups.to_vec()));
        self
    }

    pub(super) fn with<T>(&self, use_query: impl FnOnce(&Query<'_>) -> T) -> T {
        let approvals: Vec<Approval<'_>> =
            self.approvals.iter().map(|(uid, groups)| Approval { uid: *uid, groups, until: 11 }).collect();
        use_query(&Query {
            subject: Subject { uid: self.uid, groups: &self.groups, role: self.role },
            action: &self.action,
            label: &self.label,
            grounded: self.grounded,
            approvals: &approvals,
            now: 10,
        })
    }

    pub(super) fn decide(&self, policy: &Policy) -> Decision {
        self.with(|query| decide(policy, query))
    }

    pub(super) fn verdict(&self, policy: &Policy) -> &'static str {
        self.decide(policy).verdict.name()
    }
}

pub(super) fn load(rules: &str) -> Result<Loaded, Vec<Problem>> {
    let text = format!("version = 1\n{rules}");
    Policy::parse(&[SourceFile { name: "rules.toml", text: &text }])
}

pub(super) fn policy(rules: &str) -> Policy {
    load(rules).unwrap_or_else(|problems| panic!("{rules}\n{problems:#?}")).policy
}

/// A rule of this name with these lines.
pub(super) fn rule(name: &str, lines: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\n{lines}\n")
}
