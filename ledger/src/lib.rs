//! The audit log, as far as it needs no machine: what a record looks like, the tree over the records, the
//! heads the daemon signs, the proofs between heads, and the check of all of it.
//!
//! The log is one line of JSON a record. An RFC 6962 Merkle tree (SHA-256) stands over the raw lines, each
//! without its line feed; the daemon signs the tree's head. The daemon writes with this crate and everybody
//! else checks with it: no I/O, no clock, no `unsafe`, and nothing here panics on any input.
//!
//! | module | holds |
//! |---|---|
//! | [`tree`] | hashes, stored nodes, appending, proofs and their verification |
//! | [`head`] | a head, its signature, its one line of text |
//! | [`record`] | records, their fields, escaping, cutting, time |
//! | [`chain`] | the writer's state: which record comes next, and what it adds to the tree |
//! | [`verify`] | the streaming check of a whole log |
//! | [`aggregate`] | refusals, counted so that nobody can fill the disk with them |
//! | [`read`] | records for people |
//!
//! What this proves, and all it claims: cutting, rewriting or forking the log is noticed by whoever holds a
//! head outside the reach of the one who did it.
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod chain;
pub mod head;
pub mod read;
pub mod record;
pub mod tree;
pub mod verify;
