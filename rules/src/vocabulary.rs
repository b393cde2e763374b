//! The words of the language: actions, roles, arguments that can be grounded, and who may answer.
#![forbid(unsafe_code)]

use closedpaw_protocol::{Effect, SandboxVerb, SourceKind, Tier};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// Every one, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word policy files and people use.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Word for $name {
            fn all() -> impl Iterator<Item = Self> {
                Self::ALL.iter().copied()
            }
            fn word(self) -> &'static str {
                self.name()
            }
        }
    };
}

/// One of a fixed list of words.
pub(crate) trait Word: Copy + PartialEq {
    /// Every one.
    fn all() -> impl Iterator<Item = Self>;
    /// Its word.
    fn word(self) -> &'static str;
    /// The one with this word.
    fn of(word: &str) -> Option<Self> {
        Self::all().find(|one| one.word() == word)
    }
}

words! {
    /// What kind of action an effect is: the words after `allow`, `ask` and `deny`.
    ActionKind {
        /// A session on a workspace.
        Open = "open",
        /// A program in the sandbox.
        Exec = "exec",
        /// Listing a folder of the sandbox.
        List = "list",
        /// Reading a file of the sandbox.
        Read = "read",
        /// Writing inside the sandbox's own layers.
        Write = "write",
        /// Staged work to real files.
        Apply = "apply",
        /// Another folder in a sandbox.
        Mount = "mount",
        /// A page through the gateway.
        Fetch = "fetch",
        /// A sandbox's outgoing connection.
        Connect = "connect",
        /// A model off this machine.
        Cloud = "cloud",
        /// Use of a secret at a host.
        Secret = "secret",
        /// A message on a channel.
        Send = "send",
        /// Something kept beyond the session.
        Remember = "remember",
        /// Something done later.
        Schedule = "schedule",
        /// An installed skill.
        Skill = "skill",
        /// A tool server's tool.
        Tool = "tool",
        /// Looking after sandboxes.
        Sandbox = "sandbox",
        /// Reading the audit log.
        Log = "log",
        /// Changing what the daemon does for everybody.
        Admin = "admin",
    }
}

impl ActionKind {
    /// The kind of an effect.
    pub fn of(effect: &Effect) -> Self {
        match effect {
            Effect::Open { .. } => Self::Open,
            Effect::Exec { .. } => Self::Exec,
            Effect::List { .. } => Self::List,
            Effect::Read { .. } => Self::Read,
            Effect::Write { .. } => Self::Write,
            Effect::Apply { .. } => Self::Apply,
            Effect::Mount { .. } => Self::Mount,
            Effect::Fetch { .. } => Self::Fetch,
            Effect::Connect { .. } => Self::Connect,
            Effect::Cloud { .. } => Self::Cloud,
            Effect::Secret { .. } => Self::Secret,
            Effect::Send { .. } => Self::Send,
            Effect::Remember { .. } => Self::Remember,
            Effect::Schedule { .. } => Self::Schedule,
            Effect::Skill { .. } => Self::Skill,
            Effect::Tool { .. } => Self::Tool,
            Effect::Sandbox { .. } => Self::Sandbox,
            Effect::Log => Self::Log,
            Effect::Admin { .. } => Self::Admin,
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

words! {
    /// What the key that asks is enrolled as; the agent's key is never enrolled.
    Role {
        /// A person who opens sessions and answers.
        Approver = "approver",
        /// A person who may change the daemon.
        Admin = "admin",
        /// A person who signs what others install.
        Publisher = "publisher",
        /// The key of an open session's agent.
        Agent = "agent",
    }
}

words! {
    /// An argument that the person can have typed by hand.
    Argument {
        /// The host of a fetch, connection, cloud call or secret.
        Host = "host",
        /// The path of a fetch, with its query, or of a file.
        Path = "path",
        /// To whom a message goes.
        Recipient = "recipient",
        /// The channel a message goes by.
        Channel = "channel",
        /// The name something is remembered under.
        Key = "key",
        /// A skill's name.
        Skill = "skill",
        /// A tool's name.
        Tool = "tool",
    }
}

impl Argument {
    /// The text of this argument in an effect; more than one for `apply`, none where the effect has no such argument.
    ///
    /// What the person typed is compared with this, token by token, to make a [`Grounded`].
    pub fn texts(self, effect: &Effect) -> &[String] {
        use std::slice::from_ref;
        match (self, effect) {
            (
                Self::Host,
                Effect::Fetch { host, .. }
                | Effect::Connect { host, .. }
                | Effect::Cloud { host, .. }
                | Effect::Secret { host, .. },
            ) => from_ref(host),
            (
                Self::Path,
                Effect::Fetch { path, .. }
                | Effect::List { path }
                | Effect::Read { path }
                | Effect::Write { path, .. }
                | Effect::Mount { path, .. },
            ) => from_ref(path),
            (Self::Path, Effect::Apply { paths, .. }) => paths,
            (Self::Recipient, Effect::Send { recipient, .. }) => from_ref(recipient),
            (Self::Channel, Effect::Send { channel, .. }) => from_ref(channel),
            (Self::Key, Effect::Remember { key, .. }) => from_ref(key),
            (Self::Skill, Effect::Skill { name, .. }) => from_ref(name),
            (Self::Tool, Effect::Tool { tool, .. }) => from_ref(tool),
            _ => &[],
        }
    }
}

/// Which of an action's arguments the person typed by hand before anything untrusted was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Grounded(u8);

impl Grounded {
    /// Nothing was typed.
    pub const NONE: Self = Self(0);

    /// These, and those from before.
    #[must_use]
    pub fn with(self, argument: Argument) -> Self {
        Self(self.0 | 1 << argument as u8)
    }

    /// Whether this argument was typed.
    pub fn has(self, argument: Argument) -> bool {
        self.0 & (1 << argument as u8) != 0
    }
}

impl FromIterator<Argument> for Grounded {
    fn from_iter<I: IntoIterator<Item = Argument>>(arguments: I) -> Self {
        arguments.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Word for SourceKind {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Tier {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Process, Self::Gvisor, Self::Kata].into_iter()
    }
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for SandboxVerb {
    fn all() -> impl Iterator<Item = Self> {
        [Self::List, Self::Kill, Self::Checkpoint, Self::Restore, Self::Stop, Self::Start].into_iter()
    }
    fn word(self) -> &'static str {
        self.name()
    }
}

/// A set of small numbered things, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bits(pub(crate) u32);

impl Bits {
    pub(crate) fn of(indices: impl IntoIterator<Item = usize>) -> Self {
        Self(indices.into_iter().fold(0, |bits, index| bits | 1 << index))
    }
    pub(crate) fn kinds(kinds: &[ActionKind]) -> Self {
        Self::of(kinds.iter().map(|kind| kind.index()))
    }
    pub(crate) fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
    pub(crate) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_the_word_of_its_effect() {
        assert_eq!(ActionKind::of(&Effect::Log).name(), Effect::Log.name());
        for kind in ActionKind::ALL {
            assert_eq!(ActionKind::of_word(kind.name()), Some(*kind));
        }
    }

    #[test]
    fn grounding_one_argument_grounds_no_other() {
        for typed in Argument::ALL {
            let grounded = Grounded::NONE.with(*typed);
            for other in Argument::ALL {
                assert_eq!(grounded.has(*other), other == typed);
            }
        }
    }
}
