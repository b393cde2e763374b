//! One condition of a rule: what it wants, whether a query meets it, and whether one condition covers another.
//!
//! A field with several values (the paths of an `apply`, the variables of an `exec`, the sources of a label) is *covered*
//! by a condition that takes them all and *touched* by one that takes some. An `allow` permits what it covers, a `deny`
//! stops what it touches, an `ask` asks about both. The same two readings serve what can be written in more ways than one:
//! an `allow` takes a host or path at its plain word, a `deny` or `ask` as whatever it may come to.
#![forbid(unsafe_code)]

use crate::facts::Facts;
use crate::hosts::HostPattern;
use crate::paths::{self, PathPattern};
use crate::pattern::{Argv, Pattern};
use crate::vocabulary::{ActionKind, Bits, Word};
use closedpaw_protocol::{Effect, Stdin};
use std::borrow::Cow;
use std::ops::RangeInclusive;

macro_rules! fields {
    ($($name:ident = $word:literal: $kinds:expr;)*) => {
        /// What a condition looks at; the word is its key in the file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Field { $($name,)* }

        impl Field {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The actions that have such a field.
            pub(crate) fn kinds(self) -> &'static [ActionKind] {
                use ActionKind::*;
                match self { $(Self::$name => $kinds,)* }
            }
        }
    };
}

fields! {
    Argv = "argv": &[Exec];
    Cwd = "cwd": &[Exec];
    Path = "path": &[Open, List, Read, Write, Apply, Mount, Fetch];
    Host = "host": &[Fetch, Connect, Cloud, Secret];
    Port = "port": &[Fetch, Connect];
    Scheme = "scheme": &[Fetch];
    Method = "method": &[Fetch];
    Provider = "provider": &[Cloud];
    Model = "model": &[Cloud];
    Secret = "secret": &[ActionKind::Secret];
    Server = "server": &[Tool];
    Tool = "tool": &[ActionKind::Tool];
    Channel = "channel": &[Send];
    Recipient = "recipient": &[Send];
    Skill = "skill": &[ActionKind::Skill];
    Verb = "verb": &[Sandbox, Admin];
    Key = "key": &[Remember];
    Trusted = "trusted": &[Open];
    Writable = "writable": &[Mount];
    Env = "env": &[Exec];
    Stdin = "stdin": &[Exec];
    Role = "role": ActionKind::ALL;
    Uid = "uid": ActionKind::ALL;
    Group = "group": ActionKind::ALL;
    Profile = "profile": ActionKind::ALL;
    Isolation = "isolation": ActionKind::ALL;
    Untrusted = "labels.untrusted": ActionKind::ALL;
    Private = "labels.private": ActionKind::ALL;
}

/// Which standard input a rule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinWord {
    Empty,
    Sealed,
    Live,
    Terminal,
}

impl Word for StdinWord {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Empty, Self::Sealed, Self::Live, Self::Terminal].into_iter()
    }
    fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Sealed => "sealed",
            Self::Live => "live",
            Self::Terminal => "terminal",
        }
    }
}

impl StdinWord {
    pub(crate) fn of_input(stdin: &Stdin) -> Self {
        match stdin {
            Stdin::Empty => Self::Empty,
            Stdin::Sealed(_) => Self::Sealed,
            Stdin::Live => Self::Live,
            Stdin::Terminal => Self::Terminal,
        }
    }
}

/// What is wanted of one side of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LabelTest {
    /// Some source.
    Some,
    /// None.
    None,
    /// Sources of these kinds.
    Kinds(Bits),
}

impl LabelTest {
    /// A label only rises, and a rise must not lift an `ask`: one that names `false` or kinds asks under every label, and
    /// permits only under those it names.
    fn met(self, sources: Bits, reading: Reading) -> bool {
        match (self, reading) {
            (Self::Some, _) => !sources.is_empty(),
            (Self::None | Self::Kinds(_), Reading::Either) => true,
            (Self::None, Reading::Covers | Reading::Touches) => sources.is_empty(),
            (Self::Kinds(kinds), Reading::Covers) => sources.within(kinds),
            (Self::Kinds(kinds), Reading::Touches) => sources.meets(kinds),
        }
    }
}

/// What is wanted of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Argv(Vec<Argv>),
    Paths(Vec<PathPattern>),
    Hosts(Vec<HostPattern>),
    Ports(Vec<RangeInclusive<u16>>),
    Texts(Vec<Pattern>),
    /// Names of variables that may be there.
    Names(Vec<Pattern>),
    Flag(bool),
    Uids(Vec<u32>),
    Groups(Vec<u32>),
    Stdin(Bits),
    Roles(Bits),
    /// `implied`: not written, but every rule that permits means it.
    Tiers {
        tiers: Bits,
        implied: bool,
    },
    Label(LabelTest),
}

/// How a condition is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It takes the whole action at its plain word.
    Covers,
    /// It takes some of the action, or what the action may come to.
    Touches,
    /// One or the other.
    Either,
}

impl Reading {
    fn of(self, covers: impl FnOnce() -> bool, touches: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Covers => covers(),
            Self::Touches => touches(),
            Self::Either => touches() || covers(),
        }
    }
}

/// A condition: a field and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) field: Field,
    pub(crate) test: Test,
    /// The actions it speaks about; others pass.
    pub(crate) kinds: Bits,
}

impl Condition {
    pub(crate) fn new(field: Field, test: Test) -> Self {
        let mut kinds = Bits::kinds(field.kinds());
        if matches!(test, Test::Tiers { implied: true, .. }) {
            // Nothing runs isolated in these.
            kinds = kinds.without(Bits::kinds(&[ActionKind::Sandbox, ActionKind::Log, ActionKind::Admin]));
        }
        Self { field, test, kinds }
    }

    /// Whether a query meets this.
    pub(crate) fn met(&self, facts: &Facts<'_>, reading: Reading) -> bool {
        if !self.kinds.has(facts.kind.index()) {
            return true;
        }
        let subject = &facts.query.subject;
        match &self.test {
            Test::Argv(lines) => {
                let Effect::Exec { argv, .. } = facts.effect() else { return false };
                let touches = || lines.iter().any(|line| line.touches(argv));
                reading.of(|| lines.iter().any(|line| line.matches(argv)), touches)
            }
            Test::Paths(patterns) => {
                let all = self.paths(facts);
                reading.of(
                    || covers_paths(patterns, all, facts.kind),
                    || touches_paths(patterns, all, facts.kind),
                )
            }
            Test::Hosts(patterns) => {
                let host = facts.host.as_ref();
                host.is_some_and(|host| {
                    reading.of(|| host.is_within(patterns), || host.may_be_within(patterns))
                })
            }
            Test::Ports(ranges) => {
                port(facts.effect()).is_some_and(|port| ranges.iter().any(|one| one.contains(&port)))
            }
            Test::Texts(patterns) => self.text(facts).is_some_and(|text| {
                let touches = || any_matches(patterns, text) || any_matches(patterns, &self.usual_case(text));
                reading.of(|| any_matches(patterns, text), touches)
            }),
            Test::Names(patterns) => reading.of(
                || variables(facts.effect()).all(|name| any_matches(patterns, name)),
                || variables(facts.effect()).any(|name| any_matches(patterns, name)),
            ),
            Test::Flag(wanted) => flag(facts.effect()) == Some(*wanted),
            Test::Uids(wanted) => wanted.contains(&subject.uid),
            Test::Groups(wanted) => subject.groups.iter().any(|group| wanted.contains(group)),
            Test::Stdin(wanted) => {
                matches!(facts.effect(), Effect::Exec { stdin, .. } if wanted.has(StdinWord::of_input(stdin) as usize))
            }
            Test::Roles(wanted) => wanted.has(subject.role as usize),
            Test::Tiers { tiers, implied } => {
                let listed = tiers.has(facts.query.action.isolation as usize);
                reading.of(|| listed, || listed || *implied)
            }
            Test::Label(test) => {
                let sources = if self.field == Field::Private { facts.private } else { facts.untrusted };
                test.met(sources, reading)
            }
        }
    }

    /// A text as the other side may understand it, where the other side may not care for case.
    fn usual_case<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.field == Field::Method {
            text.to_ascii_uppercase().into()
        } else if self.field == Field::Scheme {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        }
    }

    /// The paths this field means in an effect.
    pub(crate) fn paths<'q>(&self, facts: &Facts<'q>) -> &'q [String] {
        use std::slice::from_ref;
        match (self.field, facts.effect()) {
            (Field::Cwd, Effect::Exec { cwd, .. }) => from_ref(cwd),
            (Field::Path, Effect::Open { workspace, .. }) => from_ref(workspace),
            (Field::Path, effect) => crate::Argument::Path.texts(effect),
            _ => &[],
        }
    }

    /// The text this field means in an effect.
    pub(crate) fn text<'q>(&self, facts: &Facts<'q>) -> Option<&'q str> {
        match (self.field, facts.effect()) {
            (Field::Scheme, Effect::Fetch { scheme: text, .. })
            | (Field::Method, Effect::Fetch { method: text, .. })
            | (Field::Provider, Effect::Cloud { provider: text, .. })
            | (Field::Model, Effect::Cloud { model: text, .. })
            | (Field::Secret, Effect::Secret { name: text, .. })
            | (Field::Server, Effect::Tool { server: text, .. })
            | (Field::Tool, Effect::Tool { tool: text, .. })
            | (Field::Channel, Effect::Send { channel: text, .. })
            | (Field::Recipient, Effect::Send { recipient: text, .. })
            | (Field::Skill, Effect::Skill { name: text, .. })
            | (Field::Key, Effect::Remember { key: text, .. })
            | (Field::Verb, Effect::Admin { verb: text }) => Some(text),
            (Field::Verb, Effect::Sandbox { verb, .. }) => Some(verb.word()),
            (Field::Profile, _) => Some(&facts.query.action.profile),
            _ => None,
        }
    }
}

fn covers_paths(patterns: &[PathPattern], all: &[String], kind: ActionKind) -> bool {
    let is_plain = if kind == ActionKind::Fetch { paths::is_plain_url } else { paths::is_plain };
    let taken = |path: &String| {
        let plain = is_plain(path);
        patterns.iter().any(|pattern| (plain || pattern.is_literal()) && pattern.matches(path))
    };
    !all.is_empty() && all.iter().all(taken)
}

fn touches_paths(patterns: &[PathPattern], all: &[String], kind: ActionKind) -> bool {
    let meanings = if kind == ActionKind::Fetch { paths::url_meanings } else { paths::meanings };
    let taken = |path: &str| patterns.iter().any(|pattern| pattern.matches(path));
    all.iter().any(|path| taken(path) || meanings(path).iter().any(|path| taken(path)))
}

fn any_matches(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// The names of an effect's variables.
pub(crate) fn variables(effect: &Effect) -> impl Iterator<Item = &str> {
    let env = if let Effect::Exec { env, .. } = effect { env.as_slice() } else { &[] };
    env.iter().map(|(name, _)| name.as_str())
}

pub(crate) fn port(effect: &Effect) -> Option<u16> {
    if let Effect::Fetch { port, .. } | Effect::Connect { port, .. } = effect { Some(*port) } else { None }
}

pub(crate) fn flag(effect: &Effect) -> Option<bool> {
    if let Effect::Open { trusted: yes, .. } | Effect::Mount { writable: yes, .. } = effect {
        Some(*yes)
    } else {
        None
    }
}
