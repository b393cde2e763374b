//! The smallest rule that would let a denied action through: every field at its plain word, nothing wider.
#![forbid(unsafe_code)]

use crate::condition::{StdinWord, variables};
use crate::facts::Facts;
use crate::pattern::escape;
use crate::problem::{SourceFile, show};
use crate::vocabulary::{ActionKind, Word};
use crate::{Policy, Query};
use closedpaw_protocol::{Effect, Source};
use std::fmt::Write;

/// The TOML of the smallest rule that would allow exactly this action, or have it asked.
///
/// It asks where an `allow` could not or should not stand: for a program from a writable layer, and for what would bring
/// together untrusted input, private data and a way out or a lasting change. Where no rule can name the action (a host that
/// is none, a path with detours) the answer is a comment that says so. For the person, never for the agent.
pub fn smallest_rule(query: &Query<'_>) -> String {
    let facts = Facts::of(query);
    let rule = write_rule(&facts);
    let text = format!("version = 1\n{rule}");
    match Policy::parse(&[SourceFile { name: "rule", text: &text }]) {
        Ok(_) => rule,
        Err(problems) => {
            let problem = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            format!("# no rule can name this action: {problem}\n")
        }
    }
}

fn write_rule(facts: &Facts<'_>) -> String {
    let verdict = if facts.unfit.is_some() || brings_three_together(facts) { "ask" } else { "allow" };
    let mut rule =
        format!("[[rule]]\nname = {}\n{verdict} = [{}]\n", quote(&title(facts)), quote(facts.kind.name()));
    for (key, value) in fields(facts.effect()) {
        let _ = writeln!(rule, "{key} = {value}");
    }
    let Query { subject, action, label, .. } = facts.query;
    let _ = writeln!(rule, "role = {}\nuid = {}", quote(subject.role.name()), subject.uid);
    let _ = writeln!(rule, "profile = {}", quote(&escape(&action.profile)));
    let _ = writeln!(rule, "isolation = {}", quote(action.isolation.name()));
    let (untrusted, private) = (kinds(label.untrusted()), kinds(label.private()));
    let _ = writeln!(rule, "labels = {{ untrusted = {untrusted}, private = {private} }}");
    rule
}

/// The Rule of Two: untrusted input, private data, and a way out or a lasting change.
fn brings_three_together(facts: &Facts<'_>) -> bool {
    let leaves_or_lasts = match facts.kind {
        ActionKind::Apply
        | ActionKind::Mount
        | ActionKind::Fetch
        | ActionKind::Connect
        | ActionKind::Cloud
        | ActionKind::Secret
        | ActionKind::Send
        | ActionKind::Remember
        | ActionKind::Schedule
        | ActionKind::Skill
        | ActionKind::Tool
        | ActionKind::Admin => true,
        ActionKind::Open
        | ActionKind::Exec
        | ActionKind::List
        | ActionKind::Read
        | ActionKind::Write
        | ActionKind::Sandbox
        | ActionKind::Log => false,
    };
    leaves_or_lasts && !facts.untrusted.is_empty() && !facts.private.is_empty()
}

fn title(facts: &Facts<'_>) -> String {
    let mut words: Vec<&str> = vec![facts.kind.name()];
    if let Effect::Exec { argv, .. } = facts.effect() {
        words.extend(argv.iter().map(String::as_str));
    } else if let Effect::Open { workspace, .. } = facts.effect() {
        words.push(workspace);
    }
    let named = crate::Argument::ALL.iter().flat_map(|one| one.texts(facts.effect()));
    words.extend(named.map(String::as_str));
    let shown = show(&words.join(" "));
    shown.trim_matches('`').to_owned()
}

/// The conditions on an effect's own fields, as keys and TOML.
fn fields(effect: &Effect) -> Vec<(&'static str, String)> {
    let word = |text: &String| quote(&escape(text));
    match effect {
        Effect::Open { workspace, trusted } => {
            vec![("path", word(workspace)), ("trusted", trusted.to_string())]
        }
        Effect::Exec { argv, cwd, stdin, .. } => {
            let mut fields = vec![
                ("argv", format!("[{}]", list(argv.iter().map(String::as_str)))),
                ("cwd", word(cwd)),
                ("stdin", quote(StdinWord::of_input(stdin).word())),
            ];
            let names: Vec<&str> = variables(effect).collect();
            if !names.is_empty() {
                fields.push(("env", list(names.into_iter())));
            }
            fields
        }
        Effect::List { path } | Effect::Read { path } | Effect::Write { path, .. } => {
            vec![("path", word(path))]
        }
        Effect::Apply { paths, .. } => vec![("path", list(paths.iter().map(String::as_str)))],
        Effect::Mount { path, writable } => vec![("path", word(path)), ("writable", writable.to_string())],
        Effect::Fetch { method, scheme, host, port, path, .. } => vec![
            ("method", word(method)),
            ("scheme", word(scheme)),
            ("host", quote(host)),
            ("port", port.to_string()),
            ("path", word(path)),
        ],
        Effect::Connect { host, port } => vec![("host", quote(host)), ("port", port.to_string())],
        Effect::Cloud { provider, host, model, .. } => {
            vec![("provider", word(provider)), ("host", quote(host)), ("model", word(model))]
        }
        Effect::Secret { name, host } => vec![("secret", word(name)), ("host", quote(host))],
        Effect::Send { channel, recipient, .. } => {
            vec![("channel", word(channel)), ("recipient", word(recipient))]
        }
        Effect::Remember { key, .. } => vec![("key", word(key))],
        Effect::Schedule { .. } | Effect::Log => vec![],
        Effect::Skill { name, .. } => vec![("skill", word(name))],
        Effect::Tool { server, tool, .. } => vec![("server", word(server)), ("tool", word(tool))],
        Effect::Sandbox { verb, .. } => vec![("verb", quote(verb.word()))],
        Effect::Admin { verb } => vec![("verb", word(verb))],
    }
}

fn list<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| quote(&escape(word))).collect();
    format!("[{}]", words.join(", "))
}

fn kinds(sources: &[Source]) -> String {
    if sources.is_empty() {
        return "false".to_owned();
    }
    let mut names: Vec<&str> = sources.iter().map(|source| source.kind.name()).collect();
    names.dedup();
    list(names.into_iter())
}

/// A TOML basic string (TOML 1.0, "String").
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
