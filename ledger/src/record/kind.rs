//! What a record can be about.
#![forbid(unsafe_code)]

use std::fmt;

/// What happened. The names stand in every log ever written: they are never changed or used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The daemon started.
    Started,
    /// The daemon stopped in good order.
    Stopped,
    /// A session was opened.
    Opened,
    /// A session was closed.
    Closed,
    /// An action is about to be done; on disk before it is.
    Intent,
    /// How an action ended.
    Outcome,
    /// A person is asked about an action.
    Asked,
    /// A person answered, or the time for it ran out.
    Answered,
    /// Requests were refused.
    Refusals,
    /// The policy was loaded, or refused.
    Policy,
    /// A key was added, removed or ran out.
    Keys,
    /// What a restarted daemon found and took back.
    Recovered,
    /// A person stopped everything, or one session.
    Stop,
    /// A signed head over all records before this one.
    Head,
    /// What a session wrote was kept when it ended, or is gone.
    Staged,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 15] = [
        Kind::Started,
        Kind::Stopped,
        Kind::Opened,
        Kind::Closed,
        Kind::Intent,
        Kind::Outcome,
        Kind::Asked,
        Kind::Answered,
        Kind::Refusals,
        Kind::Policy,
        Kind::Keys,
        Kind::Recovered,
        Kind::Stop,
        Kind::Head,
        Kind::Staged,
    ];

    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Started => "started",
            Kind::Stopped => "stopped",
            Kind::Opened => "opened",
            Kind::Closed => "closed",
            Kind::Intent => "intent",
            Kind::Outcome => "outcome",
            Kind::Asked => "asked",
            Kind::Answered => "answered",
            Kind::Refusals => "refusals",
            Kind::Policy => "policy",
            Kind::Keys => "keys",
            Kind::Recovered => "recovered",
            Kind::Stop => "stop",
            Kind::Head => "head",
            Kind::Staged => "staged",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_each_kind_has_its_own() {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(
            names,
            [
                "started",
                "stopped",
                "opened",
                "closed",
                "intent",
                "outcome",
                "asked",
                "answered",
                "refusals",
                "policy",
                "keys",
                "recovered",
                "stop",
                "head",
                "staged"
            ]
        );
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
    }
}
