//! `closedpaw-shim`: has a containerd shim v2 start a sandbox, where policy names the tier `kata`, or end one; and ends.
//!
//! The launcher starts it as root in the place of a runtime. It reads its words and what the shim says, which is a program of
//! root's that the launcher has compared with its pin; nothing of a client's, a model's or a sandbox's. Nothing of it stays: the
//! shim holds the sandbox, and opens the launcher's own pipes as the sandbox's input and output.
//!
//! There is no containerd here. What one would do is `start` and `delete` of the shim's program, five requests over ttrpc
//! (<https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md>), and files in the sandbox's folder.
#![forbid(unsafe_code)]

mod apart;
pub mod cli;
mod error;
mod fields;
mod finish;
mod orphans;
mod program;
mod reply;
mod start;
mod task;
