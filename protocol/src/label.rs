//! Labels: what a session or sandbox has read. They only rise.
#![forbid(unsafe_code)]

use bincode::{Decode, Encode};
use std::fmt;

/// What kind of place something was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum SourceKind {
    /// The folder the session works on.
    Workspace,
    /// A web host.
    Web,
    /// A tool server.
    Tool,
    /// A messenger or mail channel.
    Channel,
    /// A secret of the vault.
    Vault,
    /// A mailbox.
    Mail,
    /// The person's kept history or memory.
    Memory,
    /// A file attached by the person.
    Attachment,
}

impl SourceKind {
    /// Every kind, in the order of the wire.
    pub const ALL: [Self; 8] = [
        Self::Workspace,
        Self::Web,
        Self::Tool,
        Self::Channel,
        Self::Vault,
        Self::Mail,
        Self::Memory,
        Self::Attachment,
    ];

    /// The word policy files and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Web => "web",
            Self::Tool => "tool",
            Self::Channel => "channel",
            Self::Vault => "vault",
            Self::Mail => "mail",
            Self::Memory => "memory",
            Self::Attachment => "attachment",
        }
    }
}

/// One place something was read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Source {
    /// What kind of place.
    pub kind: SourceKind,
    /// Which one: a host, a folder, a tool server; opaque, shown escaped.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            f.write_str(self.kind.name())
        } else {
            write!(f, "{}:{}", self.kind.name(), self.name)
        }
    }
}

/// The most sources a label names on either side; past it a label keeps one nameless source of each kind, which can
/// only make it match *more* than before.
pub const MAX_SOURCES: usize = 32;

/// What has been read: which sources nobody vouches for, and which hold what should not leave.
///
/// Both sides are sorted sets; there is no way to take a source out of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Label {
    untrusted: Vec<Source>,
    private: Vec<Source>,
}

impl Label {
    /// A label with these sources; duplicates collapse.
    pub fn new(
        untrusted: impl IntoIterator<Item = Source>,
        private: impl IntoIterator<Item = Source>,
    ) -> Self {
        let mut label = Self::default();
        untrusted.into_iter().for_each(|source| insert(&mut label.untrusted, source));
        private.into_iter().for_each(|source| insert(&mut label.private, source));
        label
    }

    /// The untrusted sources, sorted.
    pub fn untrusted(&self) -> &[Source] {
        &self.untrusted
    }

    /// The private sources, sorted.
    pub fn private(&self) -> &[Source] {
        &self.private
    }

    /// This label and another's, the least one that both are below.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        other.untrusted.iter().cloned().for_each(|source| insert(&mut joined.untrusted, source));
        other.private.iter().cloned().for_each(|source| insert(&mut joined.private, source));
        joined
    }

    /// Whether the two sides are sorted sets within bounds, as every label made here is; one read from a peer may not be.
    pub fn is_well_formed(&self) -> bool {
        [&self.untrusted, &self.private].into_iter().all(|side| {
            side.len() <= MAX_SOURCES && side.windows(2).all(|pair| matches!(pair, [a, b] if a < b))
        })
    }
}

fn insert(side: &mut Vec<Source>, source: Source) {
    let Err(at) = side.binary_search(&source) else { return };
    side.insert(at, source);
    if side.len() > MAX_SOURCES {
        side.iter_mut().for_each(|source| source.name.clear());
        side.dedup();
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |side: &[Source]| {
            if side.is_empty() {
                return "nothing".to_owned();
            }
            side.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        write!(f, "untrusted: {}; private: {}", list(&self.untrusted), list(&self.private))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source() -> impl Strategy<Value = Source> {
        (0..SourceKind::ALL.len(), 0..50u8)
            .prop_map(|(kind, n)| Source { kind: SourceKind::ALL[kind], name: format!("n{n}") })
    }

    fn label() -> impl Strategy<Value = Label> {
        (prop::collection::vec(source(), 0..40), prop::collection::vec(source(), 0..40))
            .prop_map(|(u, p)| Label::new(u, p))
    }

    fn kinds(side: &[Source]) -> std::collections::BTreeSet<SourceKind> {
        side.iter().map(|s| s.kind).collect()
    }

    proptest! {
        #[test]
        fn a_label_only_rises(a in label(), b in label()) {
            let joined = a.join(&b);
            prop_assert!(joined.is_well_formed());
            for (before, after) in [(a.untrusted(), joined.untrusted()), (a.private(), joined.private()), (b.untrusted(), joined.untrusted())] {
                prop_assert!(kinds(before).is_subset(&kinds(after)));
            }
        }

        #[test]
        fn joining_again_changes_nothing(a in label(), b in label()) {
            let joined = a.join(&b);
            prop_assert_eq!(joined.join(&joined), joined);
        }
    }
}
