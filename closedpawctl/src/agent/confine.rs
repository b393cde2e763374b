//! What the agent is left with before it sees a model's first byte: memory, time, and descriptors it was handed.
//!
//! Landlock alone is not enough: up to ABI 8 it lets a process connect to a Unix socket by its path, send UDP, and its
//! TCP rules know a port and no address. So there is no `socket` and no `connect` at all. `socketpair` makes streams only:
//! a datagram pair could `sendto` any socket by its path.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::fmt::Display;

/// The Landlock version that Linux 6.12 has.
const FLOOR: ABI = ABI::V6;

/// Gives everything else up, for good. Must run while the process has one thread.
pub fn confine() -> Result<(), Failure> {
    nix::sys::prctl::set_no_new_privs().map_err(failed)?;
    nix::sys::prctl::set_dumpable(false).map_err(failed)?;
    landlock().map_err(failed)?;
    let filter = filter().map_err(failed)?;
    seccompiler::apply_filter(&filter).map_err(failed)
}

fn failed(error: impl Display) -> Failure {
    Failure::new(
        "confinement",
        69,
        format!("the agent cannot be confined: {error}"),
        "Linux 6.12 or newer with Landlock and seccomp is needed; the agent does not run without them",
    )
}

fn landlock() -> Result<(), Box<dyn std::error::Error>> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(FLOOR))?
        .handle_access(AccessNet::from_all(FLOOR))?
        .scope(Scope::from_all(FLOOR))?
        .create()?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err("Landlock is only partly enforced".into())
    }
}

fn filter() -> Result<BpfProgram, Box<dyn std::error::Error>> {
    let equals = |argument, value: i32| {
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(value.cast_unsigned()),
        )
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let stream = SeccompCondition::new(
        1,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(SOCKET_TYPE),
        u64::from(libc::SOCK_STREAM.cast_unsigned()),
    )?;
    rules.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![equals(0, libc::AF_UNIX)?, stream])?]);
    // Non-blocking mode is the only thing it may change about a descriptor; a terminal's calls are not among these.
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![equals(1, FIONBIO)?])?]);
    // New memory is never executable.
    let not_executable = |argument| {
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())),
            0,
        )
    };
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable(2)?])?]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable(2)?])?]);
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// The bits of a socket's type that are not flags (socket(2)).
const SOCKET_TYPE: u64 = 0xf;

/// `FIONBIO` of asm-generic/ioctls.h.
const FIONBIO: i32 = 0x5421;

/// Everything the agent may call besides.
const CALLS: &[i64] = &[
    // bytes on descriptors it has
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_getsockopt,
    // larger inputs for the daemon
    libc::SYS_memfd_create,
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
    // memory
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    // ending
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
