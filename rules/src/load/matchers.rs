//! The value of one condition.
#![forbid(unsafe_code)]

use crate::addresses::NetworkError;
use crate::condition::{Field, StdinWord, Test};
use crate::hosts::{HostError, HostPattern};
use crate::nearest::suggestion;
use crate::paths::{PathError, PathPattern};
use crate::pattern::{Argv, Pattern, REST};
use crate::problem::{Code, show};
use crate::read::{Reader, Value};
use crate::variables::is_variable;
use crate::vocabulary::{ActionKind, Bits, Role, Word};
use closedpaw_protocol::{SandboxVerb, Tier};
use std::ops::RangeInclusive;

/// Reads a condition's value; `None` has been recorded as a problem.
pub(super) fn test(reader: &mut Reader<'_>, field: Field, value: Value<'_, '_>, kinds: Bits) -> Option<Test> {
    match field {
        Field::Argv => argv(reader, value).map(Test::Argv),
        Field::Cwd => each(reader, value, |reader, value| path(reader, value, false)).map(Test::Paths),
        Field::Path => {
            let url = kinds.has(ActionKind::Fetch.index());
            each(reader, value, |reader, value| path(reader, value, url)).map(Test::Paths)
        }
        Field::Host => each(reader, value, host).map(Test::Hosts),
        Field::Port => each(reader, value, ports).map(Test::Ports),
        Field::Env => each(reader, value, variable).map(Test::Names),
        Field::Method => each(reader, value, method).map(Test::Texts),
        Field::Scheme => each(reader, value, scheme).map(Test::Texts),
        Field::Verb => each(reader, value, |reader, value| verb(reader, value, kinds)).map(Test::Texts),
        Field::Provider
        | Field::Model
        | Field::Secret
        | Field::Server
        | Field::Tool
        | Field::Channel
        | Field::Recipient
        | Field::Skill
        | Field::Key
        | Field::Profile => each(reader, value, word).map(Test::Texts),
        Field::Trusted | Field::Writable => reader.boolean(value).map(Test::Flag),
        Field::Uid => each(reader, value, number).map(Test::Uids),
        Field::Group => each(reader, value, number).map(Test::Groups),
        Field::Stdin => {
            words::<StdinWord>(reader, value, "standard input", |word| word as usize).map(Test::Stdin)
        }
        Field::Role => words::<Role>(reader, value, "role", |role| role as usize).map(Test::Roles),
        Field::Isolation => {
            let tiers = words::<Tier>(reader, value, "isolation", |tier| tier as usize)?;
            Some(Test::Tiers { tiers, implied: false })
        }
        Field::Untrusted | Field::Private => None,
    }
}

/// One value or a list of them, each read alike; all or none.
fn each<T>(
    reader: &mut Reader<'_>,
    value: Value<'_, '_>,
    mut read: impl FnMut(&mut Reader<'_>, Value<'_, '_>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = reader.one_or_many(value)?;
    let parsed: Vec<T> = items.iter().filter_map(|item| read(reader, *item)).collect();
    (parsed.len() == items.len()).then_some(parsed)
}

fn words<W: Word>(
    reader: &mut Reader<'_>,
    value: Value<'_, '_>,
    what: &str,
    index: fn(W) -> usize,
) -> Option<Bits> {
    Some(Bits::of(reader.words::<W>(value, Code::UnknownWord, what)?.into_iter().map(index)))
}

fn number(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<u32> {
    if let Some(name) = value.as_text() {
        let hint = Some("names are not looked up; see getent(1)".to_owned());
        reader.problem(
            value.place(),
            Code::WrongType,
            format!("a number is wanted here, not {}", show(name)),
            hint,
        );
        return None;
    }
    reader.number(value, 0..i64::from(u32::MAX))
}

fn argv(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<Argv>> {
    let shape = "a list of command lines, each a list of words: [[\"ls\", \"**\"], [\"pwd\"]]";
    if !value.is_list() {
        let message = "a command line is never one string".to_owned();
        reader.problem(value.place(), Code::WrongType, message, Some(shape.into()));
        return None;
    }
    let lines = reader.list(value)?;
    if let Some(flat) = lines.iter().find(|line| !line.is_list()) {
        reader.problem(
            flat.place(),
            Code::WrongType,
            "a list of words is wanted here".into(),
            Some(shape.into()),
        );
        return None;
    }
    let parsed: Vec<Argv> = lines.iter().filter_map(|line| command_line(reader, *line)).collect();
    (parsed.len() == lines.len()).then_some(parsed)
}

fn command_line(reader: &mut Reader<'_>, line: Value<'_, '_>) -> Option<Argv> {
    let mut items = reader.list(line)?;
    let rest = items.last().and_then(|last| last.as_text()) == Some(REST);
    if rest {
        items.pop();
    }
    let words: Vec<Pattern> = items.iter().filter_map(|item| pattern(reader, *item)).collect();
    let program =
        items.first().filter(|_| matches!(words.first(), Some(Pattern::Literal(word)) if word.is_empty()));
    if let Some(program) = program {
        reader.problem(program.place(), Code::MatchesNothing, "no program has an empty name".into(), None);
    }
    if let Some(spaced) = shell_string(&words).filter(|_| words.len() == 1 && !rest) {
        let hint = Some("every word stands by itself: [\"ls\", \"-l\"]".to_owned());
        reader.problem(line.place(), Code::BadPattern, format!("{} is a shell's line", show(spaced)), hint);
    }
    (words.len() == items.len()).then_some(Argv { words, rest })
}

/// A first word with a space in it: somebody wrote a shell's line.
fn shell_string(words: &[Pattern]) -> Option<&str> {
    match words.first() {
        Some(Pattern::Literal(word) | Pattern::Prefix(word)) if word.contains(' ') => Some(word),
        _ => None,
    }
}

/// A word pattern; an empty one only among the words of a command line.
fn pattern(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pattern> {
    let text = reader.text(value)?;
    let parsed = Pattern::parse(text);
    if let Err(error) = &parsed {
        let hint = Some("a word, x*, *x or *; a star itself is written \\*".to_owned());
        reader.problem(value.place(), Code::BadPattern, format!("{}: {error}", show(text)), hint);
    }
    parsed.ok()
}

fn word(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pattern> {
    let pattern = pattern(reader, value)?;
    if pattern == Pattern::Literal("".into()) {
        reader.problem(value.place(), Code::MatchesNothing, "an empty word matches nothing".into(), None);
        return None;
    }
    Some(pattern)
}

fn path(reader: &mut Reader<'_>, value: Value<'_, '_>, url: bool) -> Option<PathPattern> {
    let text = reader.text(value)?;
    let (code, message) = match PathPattern::parse(text) {
        Ok(PathPattern::Whole(Pattern::Literal(path))) if path.len() > 1 && path.ends_with('/') && !url => {
            (Code::MatchesNothing, "a closing slash matches nothing".to_owned())
        }
        Ok(pattern) => return Some(pattern),
        Err(error @ PathError::Pattern(_)) => (Code::BadPattern, error.to_string()),
        Err(error @ (PathError::Crooked | PathError::Empty)) => (Code::MatchesNothing, error.to_string()),
    };
    let hint = Some("a path, x*, *x, *, or folder/** for everything below".to_owned());
    reader.problem(value.place(), code, format!("{}: {message}", show(text)), hint);
    None
}

fn host(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<HostPattern> {
    let text = reader.text(value)?;
    let error = match HostPattern::parse(text) {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let hint = match error {
        HostError::Network(NetworkError::HostBits(network)) => format!("write \"{network}\""),
        HostError::Star => "\"*.example.org\" is every name below it".to_owned(),
        HostError::Network(NetworkError::Malformed) | HostError::OddAddress | HostError::Name => {
            "example.org, *.example.org, 10.0.0.0/8 or fd00::/8".to_owned()
        }
    };
    let code = if matches!(error, HostError::Name) { Code::MatchesNothing } else { Code::BadPattern };
    reader.problem(value.place(), code, format!("{}: {error}", show(text)), Some(hint));
    None
}

fn ports(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<RangeInclusive<u16>> {
    let Some(text) = value.as_text() else {
        return reader.number(value, 1..65536).map(|port: u16| port..=port);
    };
    let range = text.split_once('-').and_then(|(low, high)| {
        let port =
            |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0 && !digits.starts_with('+'));
        Some(port(low)?..=port(high)?)
    });
    match range {
        Some(range) if !range.is_empty() => Some(range),
        Some(_) => {
            reader.problem(
                value.place(),
                Code::MatchesNothing,
                format!("{} holds no port", show(text)),
                None,
            );
            None
        }
        None => {
            let hint = Some("443, or \"8000-8099\"".to_owned());
            reader.problem(value.place(), Code::BadPattern, format!("{} is no port", show(text)), hint);
            None
        }
    }
}

fn variable(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pattern> {
    let pattern = word(reader, value)?;
    let possible = match &pattern {
        Pattern::Literal(name) | Pattern::Prefix(name) => is_variable(name),
        Pattern::Suffix(tail) => is_variable(&format!("_{tail}")),
        Pattern::Any => true,
    };
    if !possible {
        let message = "no variable has such a name".to_owned();
        reader.problem(value.place(), Code::MatchesNothing, message, Some("letters, digits and _".into()));
    }
    possible.then_some(pattern)
}

fn method(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pattern> {
    let pattern = word(reader, value)?;
    let text = pattern.to_string();
    if text.bytes().any(|b| !b.is_ascii_uppercase() && b != b'*') {
        let hint = Some(format!("write {:?}", text.to_ascii_uppercase()));
        reader.problem(value.place(), Code::MatchesNothing, "methods are upper case".into(), hint);
        return None;
    }
    Some(pattern)
}

fn scheme(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pattern> {
    let text = reader.text(value)?;
    if matches!(text, "http" | "https") {
        return Some(Pattern::Literal(text.into()));
    }
    let hint = suggestion(text, ["http", "https"].into_iter());
    reader.problem(value.place(), Code::UnknownWord, format!("no such scheme: {}", show(text)), hint);
    None
}

/// A sandbox's verbs are three; the admin's are not known here.
fn verb(reader: &mut Reader<'_>, value: Value<'_, '_>, kinds: Bits) -> Option<Pattern> {
    if kinds.has(ActionKind::Admin.index()) {
        return word(reader, value);
    }
    let verb: SandboxVerb = reader.word(value, Code::UnknownWord, "verb")?;
    Some(Pattern::Literal(verb.word().into()))
}
