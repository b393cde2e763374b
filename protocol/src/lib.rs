//! What crosses a trust boundary: frames, requests, openings, approvals, digests.
//!
//! Pure: no I/O, no clock, no randomness, no `unsafe`. `docs/PROTOCOL.md` describes the same bytes for those who
//! write a second client; where the two disagree, this crate is wrong.
#![forbid(unsafe_code)]

pub mod action;
pub mod codec;
pub mod device;
pub mod error;
pub mod frame;
pub mod ids;
pub mod image;
pub mod kept;
pub mod label;
pub mod message;
pub mod relay;
pub mod sign;
pub mod stream;

pub use action::{Action, Effect, SandboxVerb, Sealed, Stdin, Tier};
pub use codec::{DecodeError, decode, encode};
pub use device::{Device, Devices};
pub use error::{ErrorCode, Refusal};
pub use ids::{ApprovalId, Challenge, Digest, KeyId, Revision, SandboxId, SessionId};
pub use label::{Label, Source, SourceKind};

/// The version both sides name in their first frame. A different one ends the connection.
pub const VERSION: u16 = 1;
