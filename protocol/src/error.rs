//! Refusals: stable numbers that are never reused, each with its cause and the next step.
#![forbid(unsafe_code)]

use bincode::{Decode, Encode};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $exit:literal, $next:literal;)*) => {
        /// Why something was refused. The numbers are the wire's, the words are for people and scripts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable number.
            pub fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code with this number.
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The exit status of a client that ends because of it, after sysexits(3) where one fits.
            pub fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// What the person can do next.
            pub fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }
        }
    };
}

codes! {
    /// The request is not one this version knows.
    Malformed = 1, "malformed", 76, "use a client of the daemon's version";
    /// The two sides speak different versions.
    Version = 2, "version", 76, "use a client of the daemon's version";
    /// A request's number is not the next one.
    OutOfOrder = 3, "out-of-order", 76, "open a new connection";
    /// The signature does not cover these bytes on this connection.
    BadSignature = 4, "bad-signature", 76, "open a new connection; if it happens again, compare the keys";
    /// The key is neither enrolled nor an open session's.
    UnknownKey = 5, "unknown-key", 77, "enrol the key: closedpawctl key enroll";
    /// The key's time is over.
    KeyExpired = 6, "key-expired", 77, "make and enrol a new key: closedpawctl key generate, then key enroll";
    /// The key's role does not include this.
    KeyRole = 7, "key-role", 77, "use a key of the role that may";
    /// The connection comes from another user than the key's.
    WrongUser = 8, "wrong-user", 77, "run the client as the user the key is enrolled for";
    /// No such session, or another one's.
    UnknownSession = 9, "unknown-session", 77, "open a session";
    /// The session's time is over, or its console has gone.
    SessionEnded = 10, "session-ended", 77, "open a new session";
    /// The agent key already speaks on another connection.
    SessionBusy = 11, "session-busy", 77, "one session has one connection; open another session";
    /// As many sessions or connections as one user may have.
    TooManySessions = 12, "too-many-sessions", 75, "close a session, or ask the admin for a higher bound";

    /// Policy says no.
    Denied = 20, "denied", 77, "closedpawctl policy explain shows the deciding rule and the smallest one that would allow it";
    /// No open question of this name for this person.
    ApprovalUnknown = 21, "approval-unknown", 77, "ask again";
    /// The approval is for another action.
    ApprovalMismatch = 22, "approval-mismatch", 77, "ask again; nothing was run";
    /// The approval or question is too old.
    ApprovalExpired = 23, "approval-expired", 77, "ask again";
    /// The approval was used.
    ApprovalUsed = 24, "approval-used", 77, "ask again: an approval is for one run";
    /// Another policy is in force than the one the action names.
    PolicyChanged = 25, "policy-changed", 75, "the client asks again under the new policy by itself";
    /// The person said no, or nobody answered in time.
    AnsweredNo = 26, "answered-no", 77, "the person decided; ask for something else";
    /// As many open questions as one session may have.
    TooManyQuestions = 27, "too-many-questions", 75, "wait for an answer";
    /// Everything is stopped.
    Halted = 28, "halted", 75, "closedpawctl start lets work go on again; an admin's start --all, if an admin stopped it";
    /// The answer must come from somebody else.
    OtherApprover = 29, "other-approver", 77, "let a person whom the rule names answer: closedpawctl approvals";

    /// The folder cannot be a workspace.
    WorkspaceForbidden = 30, "workspace-forbidden", 77, "choose a folder of your own that is not a home folder, / or a part of the system";
    /// The descriptor of the workspace is missing or no folder.
    WorkspaceMissing = 31, "workspace-missing", 66, "name an existing folder: --workspace DIR";
    /// A variable that the profile does not list.
    EnvironmentForbidden = 32, "environment-forbidden", 77, "leave the variable out, or let the admin add its name to the profile's env list";
    /// A stream or sealed input that the action names did not come with it.
    InputMissing = 33, "input-missing", 76, "send the descriptors with the request";
    /// An input that could still change.
    InputUnsealed = 34, "input-unsealed", 76, "seal the memory file against writing, growing and shrinking";
    /// No such profile.
    UnknownProfile = 35, "unknown-profile", 78, "closedpawctl doctor lists the profiles";
    /// The isolation asked for is not on this machine.
    TierMissing = 36, "tier-missing", 69, "closedpawctl doctor says what to install";
    /// The profile requires limits that this host cannot give.
    LimitsMissing = 37, "limits-missing", 69, "boot with cgroup v2 controllers, or let the admin change the profile's require list";
    /// The action is too long.
    TooLarge = 38, "too-large", 65, "make it smaller; long inputs go by standard input or a file";
    /// A device that the profile names is not on this machine.
    DeviceMissing = 39, "device-missing", 69, "closedpawctl doctor says what of it is missing; or let the admin take it out of the profile";

    /// The runtime is not installed.
    RuntimeMissing = 40, "runtime-missing", 69, "install gVisor: apt install runsc (Debian 13), then closedpawd pin";
    /// The runtime is not the pinned one.
    RuntimeChanged = 41, "runtime-changed", 69, "if the change is yours: closedpawd pin, as root";
    /// The sandbox did not start.
    SandboxFailed = 42, "sandbox-failed", 69, "closedpawctl doctor; the daemon's journal has the runtime's own words";
    /// The probe from inside found less isolation than promised.
    GateFailed = 43, "gate-failed", 69, "the runtime does not isolate; reinstall it, then closedpawd pin";
    /// The sandbox is no longer there.
    SandboxGone = 44, "sandbox-gone", 75, "open a new session";
    /// As many sandboxes as one user, or the machine, may have.
    TooManySandboxes = 45, "too-many-sandboxes", 75, "closedpawctl sandbox list, then kill one";
    /// No such sandbox of this user.
    UnknownSandbox = 46, "unknown-sandbox", 66, "closedpawctl sandbox list";
    /// As much staged work as one user, or the machine, may keep.
    TooMuchStaged = 47, "too-much-staged", 75, "closedpawctl staged, then apply it or closedpawctl discard";
    /// What is staged is not what was shown.
    StagedChanged = 48, "staged-changed", 75, "closedpawctl diff, then apply what that shows";

    /// The log cannot be written, so nothing is done.
    AuditUnwritable = 50, "audit-unwritable", 74, "free space on the log's disk; nothing was run";
    /// A fault of the daemon's own.
    Internal = 51, "internal", 70, "the daemon's journal says more; please report it";
    /// Too much at once from this user.
    Busy = 52, "busy", 75, "try again in a moment";
    /// This daemon knows the request but not yet how to do it.
    NotAvailable = 53, "not-available", 69, "this daemon cannot do that";
    /// The image that the profile names is not in the store.
    ImageMissing = 54, "image-missing", 69, "closedpawd image add, as root, with the image of that digest";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::error::Error for ErrorCode {}

impl Encode for ErrorCode {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        self.number().encode(encoder)
    }
}

impl<C> Decode<C> for ErrorCode {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        Self::from_number(u16::decode(decoder)?)
            .ok_or(bincode::error::DecodeError::Other("unknown error code"))
    }
}

bincode::impl_borrow_decode!(ErrorCode);

/// A refusal as the wire carries it.
///
/// An agent gets the code alone: what explains a denial is for the person, by way of an event to the console.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error("{code}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// The cause in this case, for the person; empty where the code says it all.
    pub detail: String,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, detail: String::new() }
    }
}

impl Refusal {
    /// A refusal whose cause needs words.
    pub fn because(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_unique_and_rise() {
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|code| code.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn every_code_has_a_next_step_and_a_failing_exit_status() {
        for code in ErrorCode::ALL {
            assert!(!code.next_step().is_empty() && (64..=78).contains(&code.exit_code()), "{code}");
        }
    }
}
