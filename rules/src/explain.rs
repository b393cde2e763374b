//! Why a decision is what it is: every rule, and where the first of its conditions failed.
//!
//! For the person. An agent that reads this learns what to ask for.
#![forbid(unsafe_code)]

use crate::condition::{Condition, Field, LabelTest, Reading, StdinWord, Test, flag, port, variables};
use crate::decision::{Approver, Decision, RuleName, SatisfiedBy, Verdict};
use crate::facts::{Facts, Unfit};
use crate::problem::show;
use crate::rule::{Policy, Rule, Speech};
use crate::smallest::smallest_rule;
use crate::template::sources;
use crate::vocabulary::{Argument, Bits, Role, Word};
use crate::{Query, decide};
use closedpaw_protocol::{Effect, SourceKind, Tier};
use std::fmt;

/// A condition that failed: its key, what it wants and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The key in the file.
    pub key: &'static str,
    /// What it wants.
    pub wanted: String,
    /// What there is, escaped.
    pub found: String,
}

/// What one rule made of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It matched.
    Matched,
    /// An `ask` that has a say and yet could not permit the action: it does not take the whole of it at its plain word.
    OnlyAsks(Unmet),
    /// It speaks about other actions.
    OtherAction,
    /// A condition failed.
    Unmet(Unmet),
}

/// One rule's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReport {
    /// Its name.
    pub name: RuleName,
    /// `allow`, `ask` or `deny`.
    pub verdict: &'static str,
    /// Where it stands: `file:line`.
    pub place: String,
    /// What it made of the query.
    pub outcome: Outcome,
}

/// A decision and everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// Every rule, strongest first, then by name.
    pub rules: Vec<RuleReport>,
    /// The smallest rule that would allow this or have it asked; only for a denial that no rule demands.
    pub smallest: Option<String>,
}

/// Decides, and says why.
pub fn explain(policy: &Policy, query: &Query<'_>) -> Explanation {
    let decision = decide(policy, query);
    let facts = Facts::of(query);
    let rules = policy.all().iter().map(|rule| report(rule, &facts)).collect();
    let smallest = (decision.verdict == Verdict::Deny { default: true }).then(|| smallest_rule(query));
    Explanation { decision, rules, smallest }
}

fn report(rule: &Rule, facts: &Facts<'_>) -> RuleReport {
    let failed =
        |reading| rule.conditions.iter().find(|one| !one.met(facts, reading)).map(|one| unmet(one, facts));
    let outcome = if !rule.kinds.has(facts.kind.index()) {
        Outcome::OtherAction
    } else if let Some(unmet) = failed(rule.restricting()) {
        Outcome::Unmet(unmet)
    } else {
        match (&rule.speech, facts.unfit, failed(Reading::Covers)) {
            (Speech::Allow(_), Some(unfit), _) => Outcome::Unmet(unfit_for_allow(unfit, facts)),
            (Speech::Ask(_), _, Some(unmet)) => Outcome::OnlyAsks(unmet),
            (Speech::Allow(_) | Speech::Ask(_) | Speech::Deny, _, _) => Outcome::Matched,
        }
    };
    RuleReport { name: rule.name.clone(), verdict: rule.speech.name(), place: rule.place.clone(), outcome }
}

fn unfit_for_allow(unfit: Unfit, facts: &Facts<'_>) -> Unmet {
    let (key, found) = match (unfit, facts.effect()) {
        (Unfit::WritableProgram, Effect::Exec { argv, .. }) => ("argv", line(argv)),
        (Unfit::CrookedPath, Effect::Exec { cwd, .. }) => ("cwd", show(cwd)),
        (Unfit::CrookedPath, Effect::Open { workspace, .. }) => ("path", show(workspace)),
        (Unfit::WritableProgram | Unfit::CrookedPath, effect) => ("path", line(Argument::Path.texts(effect))),
    };
    Unmet { key, wanted: unfit.wanted().to_owned(), found }
}

fn unmet(condition: &Condition, facts: &Facts<'_>) -> Unmet {
    Unmet { key: condition.field.name(), wanted: wanted(condition), found: found(condition, facts) }
}

/// The most alternatives that are named; more are counted.
const NAMED: usize = 6;

fn any_of<T: fmt::Display>(all: &[T]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let mut named: Vec<String> = all.iter().take(NAMED).map(|one| show(&one.to_string())).collect();
    if all.len() > NAMED {
        named.push(format!("one of {} more", all.len() - NAMED));
    }
    named.join(" or ")
}

fn names<W: Word>(bits: Bits, index: fn(W) -> usize) -> String {
    let names: Vec<&str> = W::all().filter(|word| bits.has(index(*word))).map(Word::word).collect();
    names.join(" or ")
}

fn wanted(condition: &Condition) -> String {
    match &condition.test {
        Test::Argv(lines) => any_of(lines),
        Test::Paths(patterns) => any_of(patterns),
        Test::Hosts(patterns) => any_of(patterns),
        Test::Texts(patterns) | Test::Names(patterns) => any_of(patterns),
        Test::Ports(ranges) => {
            let range = |range: &std::ops::RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
            any_of(&ranges.iter().map(range).collect::<Vec<_>>())
        }
        Test::Flag(yes) => yes.to_string(),
        Test::Uids(numbers) | Test::Groups(numbers) => {
            numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ")
        }
        Test::Stdin(bits) => names::<StdinWord>(*bits, |word| word as usize),
        Test::Roles(bits) => names::<Role>(*bits, |word| word as usize),
        Test::Tiers { tiers, .. } => names::<Tier>(*tiers, |word| word as usize),
        Test::Label(LabelTest::Some) => "something".to_owned(),
        Test::Label(LabelTest::None) => "nothing".to_owned(),
        Test::Label(LabelTest::Kinds(kinds)) => names::<SourceKind>(*kinds, |word| word as usize),
    }
}

fn found(condition: &Condition, facts: &Facts<'_>) -> String {
    let query = facts.query;
    match condition.field {
        Field::Argv => {
            if let Effect::Exec { argv, .. } = facts.effect() {
                line(argv)
            } else {
                String::new()
            }
        }
        Field::Cwd | Field::Path => line(condition.paths(facts)),
        Field::Host => line(Argument::Host.texts(facts.effect())),
        Field::Port => port(facts.effect()).map(|port| port.to_string()).unwrap_or_default(),
        Field::Env => any_of(&variables(facts.effect()).collect::<Vec<_>>()),
        Field::Trusted | Field::Writable => {
            flag(facts.effect()).map(|yes| yes.to_string()).unwrap_or_default()
        }
        Field::Stdin => {
            if let Effect::Exec { stdin, .. } = facts.effect() {
                StdinWord::of_input(stdin).word().to_owned()
            } else {
                String::new()
            }
        }
        Field::Role => query.subject.role.name().to_owned(),
        Field::Uid => query.subject.uid.to_string(),
        Field::Group => query.subject.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        Field::Isolation => query.action.isolation.name().to_owned(),
        Field::Untrusted => sources(query.label.untrusted()),
        Field::Private => sources(query.label.private()),
        Field::Scheme
        | Field::Method
        | Field::Provider
        | Field::Model
        | Field::Secret
        | Field::Server
        | Field::Tool
        | Field::Channel
        | Field::Recipient
        | Field::Skill
        | Field::Verb
        | Field::Key
        | Field::Profile => condition.text(facts).map(show).unwrap_or_default(),
    }
}

/// Words for a person: escaped, each one apart.
fn line(words: &[String]) -> String {
    words.iter().map(|word| show(word)).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wanted {}, found {}", self.key, self.wanted, self.found)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched => f.write_str("matches"),
            Self::OnlyAsks(unmet) => write!(f, "matches in part, so it asks but cannot permit; {unmet}"),
            Self::OtherAction => f.write_str("speaks about other actions"),
            Self::Unmet(unmet) => write!(f, "does not match; {unmet}"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        for one in &self.decision.satisfied {
            match &one.by {
                SatisfiedBy::Grounded => {
                    writeln!(f, "  lifted: {} (you typed it, and nothing private goes along)", one.rule)?
                }
                SatisfiedBy::Allowed => writeln!(f, "  stood aside: {} (another rule allows it)", one.rule)?,
                SatisfiedBy::Approvals(uids) => {
                    writeln!(f, "  lifted: {} (approved by uid {uids:?})", one.rule)?
                }
            }
        }
        let denied: Vec<String> = self.decision.denied_addresses.iter().map(ToString::to_string).collect();
        if !denied.is_empty() {
            writeln!(f, "  wherever the name leads, not to {}", denied.join(", "))?;
        }
        let (about, others): (Vec<_>, Vec<_>) =
            self.rules.iter().partition(|report| report.outcome != Outcome::OtherAction);
        for RuleReport { name, verdict, place, outcome } in about {
            writeln!(f, "  {verdict} \"{name}\" at {place}: {outcome}")?;
        }
        if !others.is_empty() {
            writeln!(f, "  {} rules speak about other actions", others.len())?;
        }
        let Some(smallest) = &self.smallest else { return Ok(()) };
        writeln!(f, "The smallest rule that would change this:\n{smallest}")
    }
}

impl Explanation {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { verdict, rule, why, .. } = &self.decision;
        write!(f, "{}", verdict.name())?;
        match (verdict, rule) {
            (Verdict::Deny { default: true }, _) => writeln!(f, ": no rule speaks for it")?,
            (_, Some(rule)) => writeln!(f, " by \"{rule}\"")?,
            (_, None) => writeln!(f)?,
        }
        if let Some(why) = why {
            writeln!(f, "  {why}")?;
        }
        match verdict {
            Verdict::Allow { limits } => {
                let seconds = limits.seconds.map(|seconds| format!("  for at most {seconds} seconds\n"));
                let output = limits.output.map(|bytes| format!("  with at most {bytes} bytes of output\n"));
                write!(f, "{}{}", seconds.unwrap_or_default(), output.unwrap_or_default())
            }
            Verdict::Ask(question) => {
                for want in &question.wants {
                    let whom = match want.approver {
                        Approver::Asker => "the person whose session it is".to_owned(),
                        Approver::Uid(uid) => format!("uid {uid}"),
                        Approver::Group(gid) => format!("{} of group {gid}", want.approvers),
                    };
                    writeln!(f, "  wants the yes of {whom} within {} seconds", question.wait)?;
                }
                Ok(())
            }
            Verdict::Deny { .. } => Ok(()),
        }
    }
}
