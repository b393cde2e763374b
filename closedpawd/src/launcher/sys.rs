//! The launcher's only `unsafe`: what a child does between fork and exec.

use nix::sys::signal::SigSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child hear all signals: the launcher reads its own from a descriptor and so blocks them.
pub(super) fn hear_everything(command: &mut Command) {
    in_child(command, || Ok(SigSet::empty().thread_set_mask()?));
}

/// Runs `calls` in the child between fork and exec.
#[allow(unsafe_code)]
pub(super) fn in_child(command: &mut Command, calls: fn() -> io::Result<()>) {
    // SAFETY: `calls` may allocate, which is sound between fork and exec because the launcher has one thread, so no
    // lock can be held by another.
    unsafe { command.pre_exec(calls) };
}
