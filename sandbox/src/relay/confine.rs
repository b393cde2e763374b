//! What the relay may do: move bytes between open descriptors and wait; it cannot name a file, a host or a process.
#![forbid(unsafe_code)]

use closedpaw_confine::ConfineError;
use closedpaw_confine::calls::{BYTES, Calls, ENDING, MEMORY, STREAM_PAIRS, WAITING};

/// Gives everything else up, for good.
pub(super) fn confine() -> Result<(), ConfineError> {
    closedpaw_confine::no_capabilities()?;
    closedpaw_confine::keep(&[], &CALLS)
}

/// All that it calls.
pub(super) const CALLS: Calls = Calls {
    always: &[
        BYTES,
        WAITING,
        MEMORY,
        ENDING,
        &[
            libc::SYS_pread64,
            // statx and newfstatat are how std asks for a file's size and a pipe's kind; with an empty path and no file
            // to name, Landlock or not, they tell of open descriptors.
            libc::SYS_statx,
            libc::SYS_newfstatat,
            libc::SYS_ioctl,
            libc::SYS_getuid,
            // memory, without execute being asked for by anything here
            libc::SYS_mmap,
            libc::SYS_mprotect,
        ],
    ],
    sometimes: &[STREAM_PAIRS],
};
