//! The decision: a pure, total function of a policy and a query.
//!
//! 1. A `deny` that touches the action denies it.
//! 2. If no `allow` and no `ask` covers the action, it is denied by default: an answer could not help.
//! 3. Every `ask` that touches or covers it must be lifted: by its `unless`, or by the approvals it wants. As long as one
//!    is not, the answer is `ask`, with everything that is still wanted.
//! 4. With all of them lifted the action is permitted, by a lifted `ask` that covers it as well as by an `allow`: what a
//!    person has said yes to needs no second rule. The tightest limits of the lifted ones hold. An `ask` that stood aside
//!    for an `allow` (`unless = { allowed = true }`) permits and bounds nothing.
//! 5. Otherwise an `allow` carries it; of several, the roomiest, for each alone would permit it.
#![forbid(unsafe_code)]

use crate::condition::Reading;
use crate::decision::{Decision, Limits, Question, RuleName, Satisfied, SatisfiedBy, Verdict};
use crate::facts::Facts;
use crate::rule::{Ask, Policy, Rule, Speech, Unless};
use crate::{Network, Query};

/// Decides. The same for every order of the rules and of the files they stand in.
pub fn decide(policy: &Policy, query: &Query<'_>) -> Decision {
    let facts = Facts::of(query);
    let matched = Matched::collect(policy, &facts);
    let (verdict, rule, satisfied) = matched.weigh(&facts);
    Decision {
        verdict,
        rule: rule.map(|rule| rule.name.clone()),
        why: rule.and_then(|rule| rule.why.as_ref()).map(|why| why.fill(query.label)),
        satisfied,
        also_matched: matched.others(rule),
        denied_addresses: matched.networks(),
    }
}

/// The rules that match, by what they say, each list by name.
#[derive(Default)]
struct Matched<'p> {
    denies: Vec<&'p Rule>,
    asks: Vec<(&'p Rule, &'p Ask)>,
    allows: Vec<(&'p Rule, Limits)>,
    /// Those that would match if the host's name led to one of their addresses.
    pending: Vec<Network>,
}

impl<'p> Matched<'p> {
    fn collect(policy: &'p Policy, facts: &Facts<'_>) -> Self {
        let mut matched = Self::default();
        for rule in policy.about(facts.kind, facts.effect()) {
            if !rule.met(facts, rule.restricting()) {
                if !matches!(rule.speech, Speech::Allow(_)) {
                    matched.pending.extend(rule.pending_networks(facts));
                }
                continue;
            }
            match &rule.speech {
                Speech::Deny => matched.denies.push(rule),
                Speech::Ask(ask) => matched.asks.push((rule, ask)),
                Speech::Allow(limits) if facts.unfit.is_none() => matched.allows.push((rule, *limits)),
                Speech::Allow(_) => {}
            }
        }
        matched
    }

    fn weigh(&self, facts: &Facts<'_>) -> (Verdict, Option<&'p Rule>, Vec<Satisfied>) {
        if let Some(rule) = self.denies.first() {
            return (Verdict::Deny { default: false }, Some(rule), vec![]);
        }
        let covering: Vec<&Rule> =
            self.asks.iter().map(|(rule, _)| *rule).filter(|rule| rule.met(facts, Reading::Covers)).collect();
        if self.allows.is_empty() && covering.is_empty() {
            return (Verdict::Deny { default: true }, None, vec![]);
        }
        let lifted: Vec<Option<SatisfiedBy>> =
            self.asks.iter().map(|(_, ask)| self.lift(ask, facts)).collect();
        let satisfied: Vec<Satisfied> = self
            .asks
            .iter()
            .zip(&lifted)
            .filter_map(|((rule, _), by)| Some(Satisfied { rule: rule.name.clone(), by: by.clone()? }))
            .collect();
        let open: Vec<(&Rule, &Ask)> =
            self.asks.iter().zip(&lifted).filter(|(_, by)| by.is_none()).map(|(ask, _)| *ask).collect();
        if let Some((first, _)) = open.first() {
            // The one that says why speaks.
            let speaker = open.iter().map(|(rule, _)| *rule).find(|rule| rule.why.is_some()).unwrap_or(first);
            return (Verdict::Ask(question(&open)), Some(speaker), satisfied);
        }
        let (limits, carrier) = self.carrier(&satisfied, &covering);
        (Verdict::Allow { limits }, carrier, satisfied)
    }

    /// What lifts an `ask`, if anything does.
    fn lift(&self, ask: &Ask, facts: &Facts<'_>) -> Option<SatisfiedBy> {
        let lifts = match &ask.unless {
            None => None,
            Some(Unless::Allowed) => (!self.allows.is_empty()).then_some(SatisfiedBy::Allowed),
            Some(Unless::Grounded(arguments)) => {
                let mut present =
                    arguments.iter().filter(|one| !one.texts(facts.effect()).is_empty()).peekable();
                let grounded = present.peek().is_some() && present.all(|one| facts.query.grounded.has(*one));
                (grounded && !facts.carries_private()).then_some(SatisfiedBy::Grounded)
            }
        };
        let Query { subject, approvals, now, .. } = facts.query;
        lifts.or_else(|| ask.want.met(subject.uid, approvals, *now).map(SatisfiedBy::Approvals))
    }

    /// Whose limits hold and which rule is named, once nothing is open.
    fn carrier(&self, satisfied: &[Satisfied], covering: &[&'p Rule]) -> (Limits, Option<&'p Rule>) {
        let stood_aside =
            |rule: &Rule| satisfied.iter().any(|one| one.rule == rule.name && one.by == SatisfiedBy::Allowed);
        let asks: Vec<&(&'p Rule, &'p Ask)> =
            self.asks.iter().filter(|(rule, _)| !stood_aside(rule)).collect();
        let bounds = asks.iter().fold(Limits::default(), |limits, (_, ask)| limits.tighter(ask.limits));
        let is_covering = |rule: &Rule| covering.iter().any(|one| one.name == rule.name);
        if let Some((rule, _)) = asks.iter().find(|(rule, _)| is_covering(rule)) {
            return (bounds, Some(rule));
        }
        let roomiest = self.allows.iter().rev().max_by_key(|(_, limits)| limits.room());
        roomiest.map_or((bounds, None), |(rule, limits)| (limits.tighter(bounds), Some(rule)))
    }

    fn others(&self, deciding: Option<&Rule>) -> Vec<RuleName> {
        let all = self
            .denies
            .iter()
            .copied()
            .chain(self.asks.iter().map(|(rule, _)| *rule))
            .chain(self.allows.iter().map(|(rule, _)| *rule));
        let mut names: Vec<RuleName> = all
            .filter(|rule| deciding.is_none_or(|deciding| deciding.name != rule.name))
            .map(|rule| rule.name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    fn networks(&self) -> Vec<Network> {
        let mut networks = self.pending.clone();
        networks.sort_unstable();
        networks.dedup();
        networks
    }
}

/// Everything that is still wanted, as one question.
fn question(open: &[(&Rule, &Ask)]) -> Question {
    let mut wants: Vec<_> = open.iter().map(|(_, ask)| ask.want).collect();
    wants.sort_unstable();
    wants.dedup();
    Question {
        wants,
        wait: open.iter().map(|(_, ask)| ask.wait).min().unwrap_or_default(),
        lease: open.iter().all(|(_, ask)| ask.lease),
    }
}
