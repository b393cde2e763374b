//! Rules that another makes unreachable.
#![forbid(unsafe_code)]

use super::rules::Draft;
use crate::condition::{Condition, LabelTest, Test};
use crate::problem::{Code, show};
use crate::read::Reader;
use crate::rule::{Rule, Speech};

/// Warns of every rule that could be left out without any decision changing its verdict, because one other rule decides
/// everything it could. Exact for pairs; what only several rules together cover is not looked for.
pub(super) fn warn(readers: &mut [Reader<'_>], drafts: &[Draft]) {
    let rules: Vec<(&Draft, &Rule)> =
        drafts.iter().filter_map(|draft| draft.rule.as_ref().map(|rule| (draft, rule))).collect();
    for (at, (draft, rule)) in rules.iter().enumerate() {
        // Of two equal rules only the later is superfluous.
        let cover = rules.iter().enumerate().find(|(other_at, (_, other))| {
            *other_at != at && supersedes(other, rule) && (*other_at < at || !supersedes(rule, other))
        });
        let (Some((_, (by, other))), Some(reader)) = (cover, readers.get_mut(draft.file)) else { continue };
        let message = format!(
            "{} at {} decides everything this {} could",
            show(&other.name),
            by.position,
            rule.speech.name()
        );
        reader.warn(draft.place.clone(), Code::Unreachable, message, Some("leave one of them out".into()));
    }
}

/// Whether the second rule changes nothing beside the first.
fn supersedes(one: &Rule, two: &Rule) -> bool {
    let stronger = match (&one.speech, &two.speech) {
        (Speech::Deny, _) => true,
        (Speech::Ask(one), Speech::Ask(two)) => {
            one.want == two.want
                && one.unless == two.unless
                && one.limits.tighter(two.limits) == one.limits
                && one.wait <= two.wait
                && (!one.lease || two.lease)
        }
        // An `ask` that is lifted permits; one that stands aside for this `allow` does not.
        (Speech::Ask(ask), Speech::Allow(_)) => ask.unless.is_none(),
        (Speech::Allow(one), Speech::Allow(two)) => one.tighter(*two) == *two,
        (Speech::Ask(_) | Speech::Allow(_), _) => false,
    };
    // What a rule says to the person is part of what it does.
    let silent = two.why.is_none() || two.why == one.why;
    stronger
        && (silent || one.speech == Speech::Deny)
        && two.kinds.within(one.kinds)
        && one.conditions.iter().all(|condition| {
            !condition.kinds.meets(two.kinds)
                || two
                    .conditions
                    .iter()
                    .any(|other| other.field == condition.field && covers(condition, other, one, two))
        })
}

/// Whether whatever meets the second condition, as its rule reads it, meets the first, as *its* rule reads it.
fn covers(one: &Condition, two: &Condition, one_rule: &Rule, two_rule: &Rule) -> bool {
    // A `deny` must be touched: a field without values does not. Only another `deny` is sure to have one.
    let needs_some = one_rule.speech == Speech::Deny && two_rule.speech != Speech::Deny;
    match (&one.test, &two.test) {
        (Test::Argv(one), Test::Argv(two)) => match two_rule.speech {
            Speech::Allow(_) => each_covered(one, two, |a, b| a.covers(b)),
            Speech::Ask(_) | Speech::Deny => each_covered(one, two, |a, b| a.touches_all(b)),
        },
        (Test::Paths(one), Test::Paths(two)) => each_covered(one, two, |a, b| a.covers(b)),
        (Test::Hosts(one), Test::Hosts(two)) => each_covered(one, two, |a, b| a.covers(b)),
        (Test::Texts(one), Test::Texts(two)) => each_covered(one, two, |a, b| a.covers(b)),
        (Test::Names(one), Test::Names(two)) => !needs_some && each_covered(one, two, |a, b| a.covers(b)),
        (Test::Ports(one), Test::Ports(two)) => {
            each_covered(one, two, |a, b| a.start() <= b.start() && b.end() <= a.end())
        }
        (Test::Flag(one), Test::Flag(two)) => one == two,
        (Test::Uids(one), Test::Uids(two)) | (Test::Groups(one), Test::Groups(two)) => {
            two.iter().all(|number| one.contains(number))
        }
        (Test::Stdin(one), Test::Stdin(two)) | (Test::Roles(one), Test::Roles(two)) => two.within(*one),
        (Test::Tiers { tiers: one, .. }, Test::Tiers { tiers: two, implied }) => {
            // An `ask` that means its tiers without writing them asks about every tier.
            two.within(*one) && !(*implied && matches!(two_rule.speech, Speech::Ask(_)) && one.0 != two.0)
        }
        (Test::Label(one), Test::Label(two)) => match (one, two) {
            (LabelTest::Some, LabelTest::Some) | (LabelTest::None, LabelTest::None) => true,
            (LabelTest::Kinds(one), LabelTest::Kinds(two)) => !needs_some && two.within(*one),
            (LabelTest::Kinds(_), LabelTest::None) => !needs_some,
            (LabelTest::None | LabelTest::Kinds(_), LabelTest::Some)
            | (LabelTest::Some, LabelTest::None | LabelTest::Kinds(_))
            | (LabelTest::None, LabelTest::Kinds(_)) => false,
        },
        _ => false,
    }
}

fn each_covered<T>(one: &[T], two: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    two.iter().all(|b| one.iter().any(|a| covers(a, b)))
}
