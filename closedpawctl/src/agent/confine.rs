//! What the agent is left with before it sees a model's first byte: memory, time, and descriptors it was handed.
//!
//! Landlock alone is not enough: up to ABI 8 it lets a process connect to a Unix socket by its path, send UDP, and its
//! TCP rules know a port and no address. So there is no `socket` and no `connect` at all. `socketpair` makes streams only:
//! a datagram pair could `sendto` any socket by its path.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use closedpaw_confine::ConfineError;
use closedpaw_confine::calls::{
    BYTES, Calls, ENDING, MEMORY, NEVER_EXECUTABLE, STREAM_PAIRS, Sometimes, WAITING, WHOLE,
};
use std::error::Error;

/// Gives everything else up, for good. Must run while the process has one thread.
pub fn confine() -> Result<(), Failure> {
    closedpaw_confine::keep(&[], &CALLS).map_err(|error| failed(&error))
}

fn failed(error: &ConfineError) -> Failure {
    // What it comes from alone: which kernel is needed is said below.
    let error = error.source().unwrap_or(error);
    Failure::new(
        "confinement",
        69,
        format!("the agent cannot be confined: {error}"),
        "Linux 6.12 or newer with Landlock and seccomp is needed; the agent does not run without them",
    )
}

/// `FIONBIO` of asm-generic/ioctls.h.
const FIONBIO: i32 = 0x5421;

/// Non-blocking mode is the only thing it may change about a descriptor; a terminal's calls are not among these.
const NON_BLOCKING: Sometimes = Sometimes { calls: &[libc::SYS_ioctl], arguments: &[(1, WHOLE, FIONBIO)] };

/// All that the agent may call. Larger inputs for the daemon are memory files.
const CALLS: Calls = Calls {
    always: &[BYTES, WAITING, MEMORY, ENDING, &[libc::SYS_getsockopt, libc::SYS_memfd_create]],
    sometimes: &[STREAM_PAIRS, NON_BLOCKING, NEVER_EXECUTABLE],
};
