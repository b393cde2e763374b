//! The relay's inherited descriptors and its system calls.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What the launcher hands over.
pub(super) struct Inherited {
    /// Grants in, records out.
    pub(super) control: OwnedFd,
    /// The sandbox's standard input.
    pub(super) to_sandbox: OwnedFd,
    /// The sandbox's standard output.
    pub(super) from_sandbox: OwnedFd,
}

/// Takes over descriptors 3, 4 and 5. Called once, first thing.
#[allow(unsafe_code)]
pub(super) fn inherited() -> io::Result<Inherited> {
    let take = |number: i32| {
        // SAFETY: fcntl(F_GETFD) only asks whether the number is open.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and at the start of `main` nothing else in this process owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    Ok(Inherited { control: take(3)?, to_sandbox: take(4)?, from_sandbox: take(5)? })
}

/// What a program needs that moves bytes between open descriptors and waits; it cannot name a file, a host or a process.
pub(super) const CALLS: &[i64] = &[
    // bytes and descriptors
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_fstat,
    // statx and newfstatat are how std asks for a file's size and a pipe's kind; with an empty path and no file to
    // name, Landlock or not, they tell of open descriptors.
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    // waiting
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_poll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    // memory, without execute being asked for by anything here
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mprotect,
    libc::SYS_getrandom,
    // ending
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// [`CALLS`] as a filter takes them, and pairs of connected streams, which tokio makes for its signals. No other kind
/// of socket pair: a datagram one could send to any socket that has a path.
pub(super) fn allowed() -> Result<Vec<(i64, Vec<SeccompRule>)>, BackendError> {
    let is = |argument, mask, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let stream = SeccompRule::new(vec![is(0, 0xffff_ffff, libc::AF_UNIX)?, is(1, 0xf, libc::SOCK_STREAM)?])?;
    let calls = CALLS.iter().map(|call| (*call, Vec::new()));
    Ok(calls.chain([(libc::SYS_socketpair, vec![stream])]).collect())
}
