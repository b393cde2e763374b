//! What an `allow` may not say, because it would permit more than it seems to.
#![forbid(unsafe_code)]

use crate::condition::{Condition, Field, LabelTest, Test};
use crate::origin::{Origin, origin};
use crate::pattern::{Argv, Pattern};
use crate::problem::{Code, show};
use crate::programs::{could_begin, family_of};
use crate::read::{Place, Reader, Table, Value};
use crate::rule::{Rule, Speech};
use crate::variables::{hostile, hostile_beginning};
use crate::vocabulary::ActionKind;
use closedpaw_protocol::Stdin;

/// Checks what is written; runs before the implied conditions are added.
pub(super) fn rule(reader: &mut Reader<'_>, table: Table<'_, '_>, rule: &Rule) {
    labels(reader, table, rule);
    if !matches!(rule.speech, Speech::Allow(_)) || !rule.kinds.has(ActionKind::Exec.index()) {
        return;
    }
    let find = |field: Field| rule.conditions.iter().find(|one| one.field == field);
    match (find(Field::Argv), table.entry("argv")) {
        (Some(Condition { test: Test::Argv(lines), .. }), Some((_, value))) => {
            for (line, place) in lines.iter().zip(places(reader, value)) {
                command_line(reader, line, place);
            }
        }
        (_, None) => {
            let place = table.get("allow").map_or(table.place(), Value::place);
            let message = "without `argv` every program is allowed, those too that run others".to_owned();
            reader.problem(
                place,
                Code::RunsOtherPrograms,
                message,
                Some("name the programs in `argv`".into()),
            );
        }
        _ => {}
    }
    if let (Some(Condition { test: Test::Names(names), .. }), Some(value)) =
        (find(Field::Env), table.get("env"))
    {
        variables(reader, names, value);
    }
}

fn places(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Vec<Place> {
    reader.list(value).unwrap_or_default().into_iter().map(Value::place).collect()
}

/// A label only rises; a rule must not let more through because it has.
fn labels(reader: &mut Reader<'_>, table: Table<'_, '_>, rule: &Rule) {
    for condition in &rule.conditions {
        let Test::Label(test) = &condition.test else { continue };
        let message = match (&rule.speech, test) {
            (Speech::Allow(_), LabelTest::Some) => "this would allow something only once more has been read",
            (Speech::Deny, LabelTest::None) => "this would deny something only until more has been read",
            (Speech::Allow(_), LabelTest::None | LabelTest::Kinds(_))
            | (Speech::Deny, LabelTest::Some | LabelTest::Kinds(_))
            | (Speech::Ask(_), _) => continue,
        };
        let place = table.get("labels").map_or(table.place(), Value::place);
        reader.problem(
            place,
            Code::LabelInverted,
            message.into(),
            Some("turn the condition round, or ask".into()),
        );
    }
}

fn command_line(reader: &mut Reader<'_>, line: &Argv, place: Place) {
    if let Some((code, message)) = fault(line) {
        reader.problem(
            place,
            code,
            message,
            Some("write out every word, all of /usr, or ask instead".into()),
        );
    }
}

fn fault(line: &Argv) -> Option<(Code, String)> {
    let runs = |name: &str, reason: &str| {
        Some((
            Code::RunsOtherPrograms,
            format!("{} can be told to run another program: {reason}", show(name)),
        ))
    };
    match line.words.first() {
        Some(Pattern::Literal(program)) => {
            let open_ended = line.rest || !line.words.iter().all(Pattern::is_literal);
            if let Some(family) = family_of(program).filter(|_| open_ended) {
                return runs(program, family.reason);
            }
            writable(line).then(|| {
                (
                    Code::WritableProgram,
                    format!("{} runs, or may run, code from a writable layer", show(&line.to_string())),
                )
            })
        }
        Some(Pattern::Prefix(prefix)) => {
            let known = could_begin(prefix)?;
            runs(known, &format!("the pattern {} could be it", show(&line.to_string())))
        }
        Some(Pattern::Suffix(_) | Pattern::Any) | None => {
            runs("sh", &format!("the pattern {} could be it", show(&line.to_string())))
        }
    }
}

/// Whether no command line of this pattern is wholly of `/usr`.
fn writable(line: &Argv) -> bool {
    let words: Vec<&str> = line
        .words
        .iter()
        .map(|word| match word {
            Pattern::Literal(word) => &**word,
            Pattern::Prefix(_) | Pattern::Suffix(_) | Pattern::Any => "",
        })
        .collect();
    origin(&words, &Stdin::Empty) == Origin::Writable
}

fn variables(reader: &mut Reader<'_>, names: &[Pattern], value: Value<'_, '_>) {
    for name in names {
        let known = match name {
            Pattern::Literal(name) => hostile(name),
            Pattern::Prefix(beginning) => hostile_beginning(beginning),
            Pattern::Suffix(_) | Pattern::Any => Some("LD_*"),
        };
        if let Some(known) = known {
            let message =
                format!("{} can make a program run or load something ({known})", show(&name.to_string()));
            reader.problem(
                value.place(),
                Code::HostileVariable,
                message,
                Some("name harmless variables one by one".into()),
            );
        }
    }
}
