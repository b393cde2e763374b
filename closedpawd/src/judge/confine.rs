//! What the judge keeps of an ordinary process: four folders, one socket, and system calls that reach nothing else.
#![forbid(unsafe_code)]

use crate::paths::Paths;
use closedpaw_confine::ConfineError;
use closedpaw_confine::calls::{BYTES, Calls, ENDING, MEMORY, NEVER_EXECUTABLE, STREAM_PAIRS, WAITING};
use closedpaw_confine::domain::{AccessFs, Place};
use std::path::PathBuf;

/// Gives everything else up, for this thread and all that it will start.
pub(crate) fn confine(paths: &Paths) -> Result<(), ConfineError> {
    closedpaw_confine::no_capabilities()?;
    closedpaw_confine::keep(&places(paths), &CALLS)
}

fn places(paths: &Paths) -> Vec<Place> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate | AccessFs::RemoveFile;
    let mut places = vec![
        (paths.etc(), read),
        (paths.state(), write),
        (paths.audit(), write),
        // Which limits this host can give.
        (PathBuf::from("/sys/fs/cgroup"), read),
    ];
    // `status` compares the runtime with its pin.
    places.extend(runtime_folder(paths).map(|folder| (folder, read)));
    places
}

fn runtime_folder(paths: &Paths) -> Option<PathBuf> {
    let pin = std::fs::read_to_string(paths.runtime_pin()).ok()?;
    let (_, path) = pin.trim_end().split_once("  ")?;
    PathBuf::from(path).parent().filter(|folder| folder.is_dir()).map(PathBuf::from)
}

/// What serving sockets and appending to a log takes: no way to start a program, dial, or signal anybody else.
pub(super) const CALLS: Calls = Calls {
    always: &[
        BYTES,
        WAITING,
        MEMORY,
        ENDING,
        &[
            // bytes and descriptors
            libc::SYS_pread64,
            libc::SYS_pwrite64,
            libc::SYS_accept4,
            libc::SYS_getsockopt,
            libc::SYS_getsockname,
            libc::SYS_pipe2,
            libc::SYS_ioctl,
            libc::SYS_dup,
            // files under the folders that Landlock leaves
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_statfs,
            libc::SYS_fstatfs,
            libc::SYS_getdents64,
            libc::SYS_fallocate,
            libc::SYS_ftruncate,
            libc::SYS_fdatasync,
            libc::SYS_fsync,
            libc::SYS_readlink,
            libc::SYS_readlinkat,
            libc::SYS_getcwd,
            // noticing that policy changed
            libc::SYS_inotify_init1,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_rm_watch,
            // threads, and who we are
            libc::SYS_clone3,
            libc::SYS_clone,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity,
            libc::SYS_prctl,
            libc::SYS_uname,
            libc::SYS_getuid,
        ],
    ],
    sometimes: &[STREAM_PAIRS, NEVER_EXECUTABLE],
};
