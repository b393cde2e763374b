//! Staged work: what a session wrote into its layer over a workspace, looked at, carried over, undone.
//!
//! Everything here is done by the person's own process with the person's own rights, through two descriptors: the
//! workspace and the *merged* folder, which is the workspace as the session saw it. Both are walked name by name, and no
//! link in either is ever followed.
#![deny(unsafe_code)]

pub mod carry;
pub mod choose;
pub mod fork;
pub mod journal;
pub mod manifest;
pub mod node;
pub mod notable;
pub mod origin;
pub mod patch;
pub mod place;
pub mod show;
pub mod survey;

#[cfg(test)]
mod tests;
