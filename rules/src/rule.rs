//! A rule as it is decided by, and the policy they make.
#![forbid(unsafe_code)]

use crate::Network;
use crate::condition::{Condition, Field, Reading, Test};
use crate::decision::{Limits, RuleName, Want};
use crate::facts::Facts;
use crate::hosts::HostPattern;
use crate::pattern::{Argv, Pattern};
use crate::template::Template;
use crate::vocabulary::{ActionKind, Argument, Bits};
use closedpaw_protocol::Effect;
use std::collections::BTreeMap;

/// What lifts an `ask` without anybody being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unless {
    /// Some `allow` covers the action.
    Allowed,
    /// Every one of these arguments that the action has was typed, and it has at least one.
    Grounded(Vec<Argument>),
}

/// An `ask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) want: Want,
    pub(crate) wait: u32,
    pub(crate) lease: bool,
    pub(crate) limits: Limits,
    pub(crate) unless: Option<Unless>,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Speech {
    Deny,
    Ask(Ask),
    Allow(Limits),
}

impl Speech {
    /// The word policy files use.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Ask(_) => "ask",
            Self::Allow(_) => "allow",
        }
    }

    /// The stronger, the smaller.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Deny => 0,
            Self::Ask(_) => 1,
            Self::Allow(_) => 2,
        }
    }
}

/// A rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: RuleName,
    /// Where it stands: `file:line`.
    pub(crate) place: String,
    pub(crate) kinds: Bits,
    pub(crate) speech: Speech,
    /// By key; each key once.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) why: Option<Template>,
}

impl Rule {
    /// Whether every condition is met.
    pub(crate) fn met(&self, facts: &Facts<'_>, reading: Reading) -> bool {
        self.conditions.iter().all(|condition| condition.met(facts, reading))
    }

    /// How an unmet rule is read that restricts: a `deny` or an `ask`.
    pub(crate) fn restricting(&self) -> Reading {
        match self.speech {
            Speech::Deny => Reading::Touches,
            Speech::Ask(_) => Reading::Either,
            Speech::Allow(_) => Reading::Covers,
        }
    }

    /// The address ranges that would make this rule match if the host's name led there: everything else holds already.
    pub(crate) fn pending_networks<'r>(
        &'r self,
        facts: &Facts<'_>,
    ) -> impl Iterator<Item = Network> + use<'r> {
        let is_name = facts.host.as_ref().is_some_and(crate::hosts::Host::is_name);
        let others_hold = is_name
            && self
                .conditions
                .iter()
                .all(|one| one.field == Field::Host || one.met(facts, self.restricting()));
        self.hosts().iter().filter(move |_| others_hold).filter_map(HostPattern::network)
    }

    /// The programs this rule can match, if it takes the first word at its letter and names them all.
    fn programs(&self) -> Option<impl Iterator<Item = &str>> {
        if !matches!(self.speech, Speech::Allow(_)) {
            return None;
        }
        let lines = self
            .conditions
            .iter()
            .find_map(|condition| if let Test::Argv(lines) = &condition.test { Some(lines) } else { None })?;
        let first = |line: &'_ Argv| line.words.first().is_some_and(Pattern::is_literal);
        let literals = lines.iter().filter_map(|line| {
            if let Some(Pattern::Literal(word)) = line.words.first() { Some(&**word) } else { None }
        });
        lines.iter().all(first).then_some(literals)
    }

    pub(crate) fn hosts(&self) -> &[HostPattern] {
        let hosts = self.conditions.iter().find_map(|condition| {
            if let Test::Hosts(patterns) = &condition.test { Some(patterns.as_slice()) } else { None }
        });
        hosts.unwrap_or_default()
    }
}

/// The rules that speak about one kind of action, as places in the policy's list, ascending.
#[derive(Debug, Clone, Default)]
struct Index {
    /// Those that must be looked at.
    open: Vec<u32>,
    /// Every `allow` that can match some programs only: its command lines begin with literals, which it takes as they are.
    by_program: BTreeMap<Box<str>, Vec<u32>>,
}

impl Index {
    fn of(kind: ActionKind, rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (at, rule) in (0u32..).zip(rules).filter(|(_, rule)| rule.kinds.has(kind.index())) {
            match rule.programs().filter(|_| kind == ActionKind::Exec) {
                None => index.open.push(at),
                Some(programs) => {
                    for program in programs {
                        let list = index.by_program.entry(program.into()).or_default();
                        if list.last() != Some(&at) {
                            list.push(at);
                        }
                    }
                }
            }
        }
        index
    }

    /// The rules that may match this program, ascending.
    fn about(&self, program: &str) -> impl Iterator<Item = u32> {
        let mut open = self.open.as_slice();
        let mut named = self.by_program.get(program).map(Vec::as_slice).unwrap_or_default();
        std::iter::from_fn(move || {
            let from_open = match (open.first(), named.first()) {
                (Some(one), Some(other)) => one < other,
                (first, _) => first.is_some(),
            };
            let list = if from_open { &mut open } else { &mut named };
            let (first, rest) = list.split_first()?;
            *list = rest;
            Some(*first)
        })
    }
}

/// Every rule in force, in one order that does not depend on theirs in the files.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// By strength, then name.
    rules: Vec<Rule>,
    /// By kind of action.
    indices: Vec<Index>,
}

impl Policy {
    pub(crate) fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by(|a, b| (a.speech.rank(), &a.name).cmp(&(b.speech.rank(), &b.name)));
        Self { indices: ActionKind::ALL.iter().map(|kind| Index::of(*kind, &rules)).collect(), rules }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none: everything is denied.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Every rule: its verdict, name, and place.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &RuleName, &str)> {
        self.rules.iter().map(|rule| (rule.speech.name(), &rule.name, rule.place.as_str()))
    }

    pub(crate) fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that may match an effect, strongest first, then by name.
    pub(crate) fn about(&self, kind: ActionKind, effect: &Effect) -> impl Iterator<Item = &Rule> {
        let program = if let Effect::Exec { argv, .. } = effect { argv.first() } else { None };
        let program = program.map(String::as_str).unwrap_or_default();
        let index = self.indices.get(kind.index()).into_iter();
        index.flat_map(move |index| index.about(program)).filter_map(|at| self.rules.get(at as usize))
    }
}
