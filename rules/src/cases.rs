//! Tables of cases: actions with the decision they are expected to get.
#![forbid(unsafe_code)]

use crate::action_words::{hypothetical, parse_action_words};
use crate::problem::{Code, Problem, SourceFile, show, visible};
use crate::read::{Reader, Table, Value};
use crate::vocabulary::{Argument, Grounded, Role, Word};
use crate::{Approval, Decision, Policy, Query, Subject, decide};
use closedpaw_protocol::{Action, Label, Source, SourceKind, Tier};
use std::fmt;

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Allowed.
    Allow,
    /// Asked.
    Ask,
    /// Denied, by a rule or because none speaks for it.
    Deny,
}

impl Word for Expect {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Allow, Self::Ask, Self::Deny].into_iter()
    }
    fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// One action and what is expected of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// Where it stands: `file:line`.
    pub place: String,
    /// The action.
    pub action: Action,
    words: Vec<String>,
    who: Who,
    label: Label,
    grounded: Grounded,
    /// Users who said yes, and their groups.
    approvals: Vec<(u32, Vec<u32>)>,
    /// The decision.
    pub expect: Expect,
    /// The rule that must be the deciding one.
    pub rule: Option<String>,
}

#[derive(Debug, Clone)]
struct Who {
    uid: u32,
    groups: Vec<u32>,
    role: Role,
}

impl Default for Who {
    fn default() -> Self {
        Self { uid: 1000, groups: vec![1000], role: Role::Agent }
    }
}

/// How one case went.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// What the case shows.
    pub name: String,
    /// Where it stands: `file:line`.
    pub place: String,
    /// The action's words.
    pub words: Vec<String>,
    /// What was expected.
    pub expect: Expect,
    /// Which rule was to decide.
    pub rule: Option<String>,
    /// What was decided.
    pub decision: Decision,
}

impl CaseResult {
    /// Whether it went as expected.
    pub fn passed(&self) -> bool {
        let rule = self.decision.rule.as_deref();
        self.decision.verdict.name() == self.expect.word()
            && self.rule.as_deref().is_none_or(|want| rule == Some(want))
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |rule: Option<&str>| rule.map(|rule| format!(" by {}", show(rule))).unwrap_or_default();
        let words: Vec<String> = self.words.iter().map(|word| visible(word.chars())).collect();
        let outcome = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{outcome} {}: {} [{}]: ", self.place, self.name, words.join(" "))?;
        write!(f, "{}{}", self.decision.verdict.name(), by(self.decision.rule.as_deref()))?;
        if self.passed() {
            return Ok(());
        }
        write!(f, ", expected {}{}", self.expect.word(), by(self.rule.as_deref()))
    }
}

/// Decides every case.
pub fn run_cases(policy: &Policy, cases: &[Case]) -> Vec<CaseResult> {
    cases.iter().map(|case| run(policy, case)).collect()
}

fn run(policy: &Policy, case: &Case) -> CaseResult {
    let approvals: Vec<Approval<'_>> =
        case.approvals.iter().map(|(uid, groups)| Approval { uid: *uid, groups, until: 1 }).collect();
    let decision = decide(policy, &case.query(&approvals));
    CaseResult {
        name: case.name.clone(),
        place: case.place.clone(),
        words: case.words.clone(),
        expect: case.expect,
        rule: case.rule.clone(),
        decision,
    }
}

impl Case {
    /// The case as it is decided, with these approvals.
    pub fn query<'q>(&'q self, approvals: &'q [Approval<'q>]) -> Query<'q> {
        let Who { uid, groups, role } = &self.who;
        Query {
            subject: Subject { uid: *uid, groups, role: *role },
            action: &self.action,
            label: &self.label,
            grounded: self.grounded,
            approvals,
            now: 0,
        }
    }

    /// Reads a table of cases. `subject` and `label` at the head of the file hold for every case that has none of its own.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(file: &SourceFile<'_>) -> Result<Vec<Self>, Vec<Problem>> {
        let mut reader = Reader::new(*file);
        let cases = read_file(&mut reader);
        let (problems, _) = reader.finish();
        if problems.is_empty() { Ok(cases) } else { Err(problems) }
    }
}

fn read_file(reader: &mut Reader<'_>) -> Vec<Case> {
    let Some(tree) = reader.document() else { return vec![] };
    let root = Table::root(&tree);
    reader.version(root);
    reader.known_keys(root, &["version", "subject", "label", "case"]);
    let who = root.get("subject").and_then(|value| who(reader, value)).unwrap_or_default();
    let common = root.get("label").and_then(|value| label(reader, value)).unwrap_or_default();
    let Some(list) = root.get("case").and_then(|value| reader.list(value)) else {
        reader.problem(
            0..0,
            Code::NoCases,
            "the file holds no case".into(),
            Some("a case begins with [[case]]".into()),
        );
        return vec![];
    };
    let mut cases = vec![];
    for item in list {
        if let Some(table) = reader.table(item) {
            cases.extend(read_case(reader, table, &who, &common));
        }
    }
    cases
}

const KEYS: &[&str] = &[
    "name",
    "action",
    "actions",
    "subject",
    "label",
    "grounded",
    "approvals",
    "isolation",
    "profile",
    "expect",
    "rule",
];

fn read_case(reader: &mut Reader<'_>, table: Table<'_, '_>, common_who: &Who, common: &Label) -> Vec<Case> {
    reader.known_keys(table, KEYS);
    let name =
        reader.required(table, "name").and_then(|value| reader.text(value)).unwrap_or_default().to_owned();
    let expect =
        reader.required(table, "expect").and_then(|value| reader.word(value, Code::UnknownWord, "decision"));
    let who = table.get("subject").map_or(Some(common_who.clone()), |value| who(reader, value));
    let label = table.get("label").map_or(Some(common.clone()), |value| label(reader, value));
    let grounded: Option<Vec<Argument>> = table
        .get("grounded")
        .map_or(Some(vec![]), |value| reader.words(value, Code::UnknownWord, "argument"));
    let approvals = table.get("approvals").map_or(Some(vec![]), |value| approvals(reader, value));
    let isolation = table
        .get("isolation")
        .map_or(Some(Tier::Gvisor), |value| reader.word(value, Code::UnknownWord, "isolation"));
    let profile = table.get("profile").map_or(Some("default"), |value| reader.text(value));
    let rule =
        table.get("rule").map_or(Some(None), |value| reader.text(value).map(|text| Some(text.to_owned())));
    let lines = actions(reader, table);
    let shown = reader.at(table.place(), Code::Syntax, String::new(), None);
    let place = format!("{}:{}", shown.file, shown.line);
    let build = || {
        let (expect, who, label, rule) = (expect?, who?, label?, rule?);
        let (grounded, approvals, isolation, profile) = (grounded?, approvals?, isolation?, profile?);
        let case = |(words, effect)| Case {
            name: name.clone(),
            place: place.clone(),
            action: hypothetical(effect, isolation, profile),
            words,
            who: who.clone(),
            label: label.clone(),
            grounded: grounded.iter().copied().collect(),
            approvals: approvals.clone(),
            expect,
            rule: rule.clone(),
        };
        Some(lines.into_iter().map(case).collect())
    };
    build().unwrap_or_default()
}

/// `action`, or several as `actions`.
fn actions(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Vec<(Vec<String>, closedpaw_protocol::Effect)> {
    let lines = match (table.get("action"), table.get("actions")) {
        (Some(one), None) => vec![one],
        (None, Some(many)) => reader.list(many).unwrap_or_default(),
        (Some(_), Some(many)) => {
            reader.problem(
                many.place(),
                Code::MisplacedKey,
                "`action` and `actions` exclude each other".into(),
                None,
            );
            vec![]
        }
        (None, None) => {
            reader.problem(table.place(), Code::MissingKey, "`action` is missing".into(), None);
            vec![]
        }
    };
    lines.into_iter().filter_map(|line| action(reader, line)).collect()
}

fn action(reader: &mut Reader<'_>, line: Value<'_, '_>) -> Option<(Vec<String>, closedpaw_protocol::Effect)> {
    let items = reader.list(line)?;
    let words: Vec<String> = items.iter().filter_map(|item| reader.text(*item).map(str::to_owned)).collect();
    if words.len() != items.len() {
        return None;
    }
    match parse_action_words(&words) {
        Ok(effect) => Some((words, effect)),
        Err(error) => {
            reader.problem(line.place(), Code::UnknownAction, error.to_string(), None);
            None
        }
    }
}

fn who(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Who> {
    let table = reader.table(value)?;
    reader.known_keys(table, &["uid", "groups", "role"]);
    let default = Who::default();
    let uid = table.get("uid").map_or(Some(default.uid), |value| id(reader, value));
    let groups = table.get("groups").map_or(Some(default.groups), |value| ids(reader, value));
    let role =
        table.get("role").map_or(Some(default.role), |value| reader.word(value, Code::UnknownWord, "role"));
    Some(Who { uid: uid?, groups: groups?, role: role? })
}

fn id(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<u32> {
    reader.number(value, 0..i64::from(u32::MAX))
}

fn ids(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<u32>> {
    let items = reader.list(value)?;
    let ids: Vec<u32> = items.iter().filter_map(|item| id(reader, *item)).collect();
    (ids.len() == items.len()).then_some(ids)
}

fn label(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Label> {
    let table = reader.table(value)?;
    reader.known_keys(table, &["untrusted", "private"]);
    let untrusted = table.get("untrusted").map_or(Some(vec![]), |value| sources(reader, value));
    let private = table.get("private").map_or(Some(vec![]), |value| sources(reader, value));
    Some(Label::new(untrusted?, private?))
}

/// `["workspace", "web:example.org"]`.
fn sources(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<Source>> {
    let items = reader.list(value)?;
    let sources: Vec<Source> = items.iter().filter_map(|item| source(reader, *item)).collect();
    (sources.len() == items.len()).then_some(sources)
}

fn source(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Source> {
    let text = reader.text(value)?;
    let source = parse_source(text);
    if source.is_none() {
        let kind = text.split(':').next().unwrap_or(text);
        let hint = crate::nearest::suggestion(kind, SourceKind::all().map(Word::word));
        reader.problem(
            value.place(),
            Code::UnknownLabel,
            format!("no such kind of source: {}", show(kind)),
            hint,
        );
    }
    source
}

/// A source as people write it: its kind, and its name behind a colon if it matters.
pub fn parse_source(text: &str) -> Option<Source> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    Some(Source { kind: SourceKind::of(kind)?, name: name.to_owned() })
}

fn approvals(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<(u32, Vec<u32>)>> {
    let items = reader.list(value)?;
    let parsed: Vec<(u32, Vec<u32>)> = items
        .iter()
        .filter_map(|item| {
            if item.is_number() {
                return Some((id(reader, *item)?, vec![]));
            }
            let table = reader.table(*item)?;
            reader.known_keys(table, &["uid", "groups"]);
            let uid = reader.required(table, "uid").and_then(|value| id(reader, value));
            let groups = table.get("groups").map_or(Some(vec![]), |value| ids(reader, value));
            Some((uid?, groups?))
        })
        .collect();
    (parsed.len() == items.len()).then_some(parsed)
}
