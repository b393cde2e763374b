//! One `[[rule]]`.
#![forbid(unsafe_code)]

use super::{matchers, vet};
use crate::condition::{Condition, Field, LabelTest, Test};
use crate::decision::{Approver, Limits, RuleName, Want};
use crate::problem::{Code, show};
use crate::read::{Place, Reader, Table, Value};
use crate::rule::{Ask, Rule, Speech, Unless};
use crate::template::Template;
use crate::vocabulary::{ActionKind, Argument, Bits};
use closedpaw_protocol::{SourceKind, Tier};

/// What was read of one rule. Whatever is missing has been recorded as a problem.
pub(super) struct Draft {
    pub(super) name: Option<String>,
    /// Where the rule, or its name, stands.
    pub(super) place: Place,
    /// The same for people: `file:line`.
    pub(super) position: String,
    /// The number of its file.
    pub(super) file: usize,
    pub(super) rule: Option<Rule>,
}

const VERDICTS: &[&str] = &["allow", "ask", "deny"];

/// The keys beside the verdicts and the conditions, and the verdicts they belong to.
const SETTINGS: &[(&str, &[&str])] = &[
    ("unless", &["ask"]),
    ("approver", &["ask"]),
    ("approvers", &["ask"]),
    ("wait", &["ask"]),
    ("lease", &["ask"]),
    ("limits", &["allow", "ask"]),
    ("why", &["ask", "deny"]),
];

/// Seconds a question stays open unless the rule says otherwise.
const WAIT: u32 = 120;

/// The longest a question may stay open, in seconds.
const LONGEST_WAIT: i64 = 3600;

fn known_keys() -> Vec<&'static str> {
    let conditions = Field::ALL.iter().map(|field| field.name()).filter(|name| !name.contains('.'));
    let settings = SETTINGS.iter().map(|(name, _)| *name);
    ["name", "labels"].into_iter().chain(VERDICTS.iter().copied()).chain(conditions).chain(settings).collect()
}

/// Reads one rule.
pub(super) fn draft(reader: &mut Reader<'_>, table: Table<'_, '_>, file: usize) -> Draft {
    reader.known_keys(table, &known_keys());
    let (place, name) = name(reader, table);
    let shown = reader.at(place.clone(), Code::Syntax, String::new(), None);
    let position = format!("{}:{}", shown.file, shown.line);
    let rule = verdict(reader, table).and_then(|(word, kinds)| {
        misplaced(reader, table, word);
        let conditions = conditions(reader, table, kinds);
        let speech = speech(reader, table, word)?;
        let why = table.get("why").and_then(|value| template(reader, value));
        let name = RuleName(name.clone()?.into());
        let mut rule = Rule { name, place: position.clone(), kinds, speech, conditions, why };
        vet::rule(reader, table, &rule);
        imply(&mut rule);
        Some(rule)
    });
    Draft { name, place, position, file, rule }
}

fn name(reader: &mut Reader<'_>, table: Table<'_, '_>) -> (Place, Option<String>) {
    let Some(value) = table.get("name") else {
        let hint = Some("the name is what people and the log see".to_owned());
        reader.problem(table.place(), Code::MissingKey, "`name` is missing".into(), hint);
        return (table.place(), None);
    };
    let Some(text) = reader.text(value) else { return (value.place(), None) };
    let good = !text.trim().is_empty() && text.chars().count() <= 120 && !text.contains(char::is_control);
    if !good {
        let message = format!("{} is no name: up to 120 characters on one line", show(text));
        reader.problem(value.place(), Code::BadName, message, None);
    }
    (value.place(), good.then(|| text.to_owned()))
}

/// The one verdict and its actions.
fn verdict(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<(&'static str, Bits)> {
    let given: Vec<_> = VERDICTS
        .iter()
        .filter_map(|word| table.entry(word).map(|(place, value)| (*word, place, value)))
        .collect();
    match given.as_slice() {
        [(word, _, value)] => {
            if !value.is_list() {
                let hint = value.as_text().map(|action| format!("write {word} = [{action:?}]"));
                reader.problem(
                    value.place(),
                    Code::WrongType,
                    "a list of actions is wanted here".into(),
                    hint,
                );
                return None;
            }
            let kinds: Vec<ActionKind> = reader.words(*value, Code::UnknownAction, "action")?;
            Some((*word, Bits::kinds(&kinds)))
        }
        [] => {
            let hint = Some("write one of allow, ask, deny = [actions]".to_owned());
            reader.problem(
                table.place(),
                Code::OneVerdict,
                "the rule says neither allow, ask nor deny".into(),
                hint,
            );
            None
        }
        [_, (_, place, _), ..] => {
            let hint = Some("make it two rules".to_owned());
            reader.problem(place.clone(), Code::OneVerdict, "a rule says one thing".into(), hint);
            None
        }
    }
}

fn misplaced(reader: &mut Reader<'_>, table: Table<'_, '_>, word: &str) {
    for (key, verdicts) in SETTINGS {
        if let Some((place, _)) = table.entry(key).filter(|_| !verdicts.contains(&word)) {
            let message = format!("`{key}` means nothing in a rule that says {word}");
            let hint = Some(format!("it belongs to {}", verdicts.join(" or ")));
            reader.problem(place, Code::MisplacedKey, message, hint);
        }
    }
}

/// Every condition, by key.
fn conditions(reader: &mut Reader<'_>, table: Table<'_, '_>, kinds: Bits) -> Vec<Condition> {
    let mut conditions = vec![];
    for field in Field::ALL {
        let Some((place, value)) = table.entry(field.name()) else { continue };
        if !Bits::kinds(field.kinds()).meets(kinds) {
            let of: Vec<_> = field.kinds().iter().map(|kind| kind.name()).collect();
            let message = format!("none of the rule's actions has a `{}`", field.name());
            let hint = Some(format!("it belongs to {}", of.join(", ")));
            reader.problem(place, Code::MisplacedKey, message, hint);
        }
        if let Some(test) = matchers::test(reader, *field, value, kinds) {
            conditions.push(Condition::new(*field, test));
        }
    }
    if let Some(labels) = table.get("labels").and_then(|value| reader.table(value)) {
        reader.known_keys(labels, &["untrusted", "private"]);
        if labels.entries().next().is_none() {
            let hint = Some("labels = { untrusted = …, private = … }".to_owned());
            reader.problem(labels.place(), Code::MatchesNothing, "the table is empty".into(), hint);
        }
        for (word, field) in [("untrusted", Field::Untrusted), ("private", Field::Private)] {
            if let Some(test) = labels.get(word).and_then(|value| label(reader, value)) {
                conditions.push(Condition::new(field, Test::Label(test)));
            }
        }
    }
    conditions
}

fn label(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<LabelTest> {
    if let Some(some) = value.as_bool() {
        return Some(if some { LabelTest::Some } else { LabelTest::None });
    }
    if !value.is_list() {
        let message = "true (something), false (nothing) or a list of kinds is wanted here".to_owned();
        let hint = value.as_text().map(|kind| format!("write [{kind:?}]"));
        reader.problem(value.place(), Code::WrongType, message, hint);
        return None;
    }
    let kinds: Vec<SourceKind> = reader.words(value, Code::UnknownLabel, "kind of source")?;
    Some(LabelTest::Kinds(Bits::of(kinds.iter().map(|kind| *kind as usize))))
}

fn speech(reader: &mut Reader<'_>, table: Table<'_, '_>, word: &str) -> Option<Speech> {
    let limits = table.get("limits").map_or(Some(Limits::default()), |value| limits(reader, value));
    match word {
        "deny" => Some(Speech::Deny),
        "allow" => Some(Speech::Allow(limits?)),
        _ => {
            let want = want(reader, table);
            let wait =
                table.get("wait").map_or(Some(WAIT), |value| reader.number(value, 1..LONGEST_WAIT + 1));
            let lease = table.get("lease").map_or(Some(false), |value| reader.boolean(value));
            let unless = match table.get("unless") {
                None => None,
                Some(value) => Some(unless(reader, value)?),
            };
            Some(Speech::Ask(Ask { want: want?, wait: wait?, lease: lease?, limits: limits?, unless }))
        }
    }
}

fn limits(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Limits> {
    let table = reader.table(value)?;
    reader.known_keys(table, &["seconds", "output"]);
    let seconds = table.get("seconds").map(|value| reader.number(value, 1..1 << 31));
    let output = table.get("output").map(|value| reader.size(value));
    if seconds.is_none() && output.is_none() {
        let hint = Some("limits = { seconds = 20, output = \"1MiB\" }".to_owned());
        reader.problem(value.place(), Code::MatchesNothing, "no limit is named".into(), hint);
    }
    Some(Limits { seconds: seconds.flatten(), output: output.flatten() })
}

fn want(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<Want> {
    let approver = table.get("approver").map_or(Some(Approver::Asker), |value| approver(reader, value));
    let approvers = table.get("approvers").map_or(Some(1), |value| reader.number(value, 1..9));
    let want = Want { approver: approver?, approvers: approvers? };
    if want.approvers > 1 && !matches!(want.approver, Approver::Group(_)) {
        let place = table.get("approvers").map_or(table.place(), Value::place);
        let message = format!("one user cannot give {} answers", want.approvers);
        reader.problem(
            place,
            Code::OutOfRange,
            message,
            Some("name a group: approver = { group = GID }".into()),
        );
    }
    Some(want)
}

fn approver(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Approver> {
    if value.is_number() {
        return reader.number(value, 0..i64::from(u32::MAX)).map(Approver::Uid);
    }
    if let Some(table) = value.as_table() {
        reader.known_keys(table, &["group"]);
        let gid = reader.required(table, "group")?;
        return reader.number(gid, 0..i64::from(u32::MAX)).map(Approver::Group);
    }
    if value.as_text() == Some("self") {
        return Some(Approver::Asker);
    }
    let message = "\"self\", a uid or { group = GID } is wanted here".to_owned();
    reader.problem(value.place(), Code::UnknownWord, message, None);
    None
}

fn unless(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Unless> {
    let table = reader.table(value)?;
    reader.known_keys(table, &["grounded", "body", "allowed"]);
    if let Some(value) = table.get("allowed") {
        if reader.boolean(value)? && table.get("grounded").is_none() && table.get("body").is_none() {
            return Some(Unless::Allowed);
        }
        let message = "`allowed = true` stands alone".to_owned();
        reader.problem(value.place(), Code::MisplacedKey, message, Some("make it two rules".into()));
        return None;
    }
    if let Some(body) = table.get("body") {
        let text = reader.text(body)?;
        if text != "public" {
            let hint = Some("body = \"public\"".to_owned());
            reader.problem(body.place(), Code::UnknownWord, format!("no such body: {}", show(text)), hint);
        }
    }
    let arguments: Vec<Argument> = {
        let value = reader.required(table, "grounded")?;
        reader.words(value, Code::UnknownWord, "argument")?
    };
    Some(Unless::Grounded(arguments))
}

fn template(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Template> {
    let text = reader.text(value)?;
    let parsed = Template::parse(text);
    if let Err(braces) = &parsed {
        let hint = Some("{untrusted} and {private} are filled in".to_owned());
        reader.problem(value.place(), Code::BadTemplate, format!("{} means nothing", show(braces)), hint);
    }
    parsed.ok()
}

/// What every rule that permits means without writing it: no variables, and no tier without a kernel of its own.
fn imply(rule: &mut Rule) {
    let written = |field: Field, rule: &Rule| rule.conditions.iter().any(|one| one.field == field);
    if rule.speech == Speech::Deny {
        return;
    }
    if !written(Field::Isolation, rule) {
        let tiers = Bits::of([Tier::Gvisor as usize, Tier::Kata as usize]);
        rule.conditions.push(Condition::new(Field::Isolation, Test::Tiers { tiers, implied: true }));
    }
    if matches!(rule.speech, Speech::Allow(_)) && !written(Field::Env, rule) {
        rule.conditions.push(Condition::new(Field::Env, Test::Names(vec![])));
    }
    rule.conditions.sort_by_key(|condition| condition.field);
}
