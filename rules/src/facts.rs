//! A query as the conditions see it: every field in the form that is compared, worked out once.
#![forbid(unsafe_code)]

use crate::Query;
use crate::hosts::Host;
use crate::origin::{Origin, origin};
use crate::paths::{is_plain, is_plain_url};
use crate::vocabulary::{ActionKind, Argument, Bits};
use closedpaw_protocol::{Effect, Source};

/// Why no `allow` fits an action, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The program, or what it would run, comes from a writable layer.
    WritableProgram,
    /// A path that takes detours.
    CrookedPath,
}

impl Unfit {
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::WritableProgram => "a program of /usr that runs nothing from elsewhere",
            Self::CrookedPath => "a path without `.`, `..` and empty components",
        }
    }
}

/// A query, prepared.
pub(crate) struct Facts<'q> {
    pub(crate) query: &'q Query<'q>,
    pub(crate) kind: ActionKind,
    /// The host, where the effect has one.
    pub(crate) host: Option<Host>,
    /// The kinds of untrusted sources.
    pub(crate) untrusted: Bits,
    /// The kinds of private sources.
    pub(crate) private: Bits,
    /// Why no `allow` fits.
    pub(crate) unfit: Option<Unfit>,
}

impl<'q> Facts<'q> {
    pub(crate) fn of(query: &'q Query<'q>) -> Self {
        let effect = &query.action.effect;
        Self {
            query,
            kind: ActionKind::of(effect),
            host: Argument::Host.texts(effect).first().map(|host| Host::of(host)),
            untrusted: kinds(query.label.untrusted()),
            private: kinds(query.label.private()),
            unfit: unfit(effect),
        }
    }

    pub(crate) fn effect(&self) -> &'q Effect {
        &self.query.action.effect
    }

    /// Whether something private may go along, or could: grounding never lifts an `ask` on that.
    ///
    /// What cannot be seen from here counts as private: a connection's bytes, a secret itself, a request that is more than
    /// a question, and the words of an address that the person did not type.
    pub(crate) fn carries_private(&self) -> bool {
        let private = !self.private.is_empty();
        match self.effect() {
            Effect::Secret { .. } => true,
            Effect::Fetch { method, path, headers, body, .. } => {
                let asks_only =
                    matches!(method.as_str(), "GET" | "HEAD") && headers.is_empty() && body.is_none();
                private && (!asks_only || (path != "/" && !self.query.grounded.has(Argument::Path)))
            }
            Effect::Exec { .. }
            | Effect::Write { .. }
            | Effect::Apply { .. }
            | Effect::Connect { .. }
            | Effect::Cloud { .. }
            | Effect::Send { .. }
            | Effect::Remember { .. }
            | Effect::Tool { .. } => private,
            Effect::Open { .. }
            | Effect::List { .. }
            | Effect::Read { .. }
            | Effect::Mount { .. }
            | Effect::Schedule { .. }
            | Effect::Skill { .. }
            | Effect::Sandbox { .. }
            | Effect::Log
            | Effect::Admin { .. } => false,
        }
    }
}

fn kinds(sources: &[Source]) -> Bits {
    Bits::of(sources.iter().map(|source| source.kind as usize))
}

fn unfit(effect: &Effect) -> Option<Unfit> {
    let plain = match effect {
        Effect::Exec { argv, cwd, stdin, .. } => {
            if origin(argv, stdin) == Origin::Writable {
                return Some(Unfit::WritableProgram);
            }
            is_plain(cwd)
        }
        // A session may have no workspace at all.
        Effect::Open { workspace, .. } => workspace.is_empty() || is_plain(workspace),
        Effect::List { path }
        | Effect::Read { path }
        | Effect::Write { path, .. }
        | Effect::Mount { path, .. } => is_plain(path),
        Effect::Apply { paths, .. } => paths.iter().all(|path| is_plain(path)),
        Effect::Fetch { path, .. } => is_plain_url(path),
        Effect::Connect { .. }
        | Effect::Cloud { .. }
        | Effect::Secret { .. }
        | Effect::Send { .. }
        | Effect::Remember { .. }
        | Effect::Schedule { .. }
        | Effect::Skill { .. }
        | Effect::Tool { .. }
        | Effect::Sandbox { .. }
        | Effect::Log
        | Effect::Admin { .. } => true,
    };
    (!plain).then_some(Unfit::CrookedPath)
}
