//! "Only these system calls": each program's list is data, made of the groups here and of what it needs besides.
#![forbid(unsafe_code)]

use crate::ConfineError;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// What a program may call; any other call kills it.
#[derive(Debug)]
pub struct Calls {
    /// Those that are harmless whatever their arguments are.
    pub always: &'static [&'static [i64]],
    /// Those that are harmless with some arguments only; of several entries for one call any will do.
    pub sometimes: &'static [Sometimes],
}

/// Calls that are harmless as long as their arguments are as said.
#[derive(Debug)]
pub struct Sometimes {
    /// Which calls.
    pub calls: &'static [i64],
    /// An argument's number, which bits of it count, and what those are.
    pub arguments: &'static [(u8, u32, i32)],
}

/// All bits of an argument.
pub const WHOLE: u32 = u32::MAX;

/// Moving bytes over open descriptors; nothing can be named or opened with these.
pub const BYTES: &[i64] = &[
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
];

/// Waiting, for descriptors and for time.
pub const WAITING: &[i64] = &[
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
];

/// Memory that is there, and chance. New memory is each program's own to allow.
pub const MEMORY: &[i64] =
    &[libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_getrandom];

/// Signals to itself, and its end.
pub const ENDING: &[i64] = &[
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

/// Pairs of connected streams, which tokio makes for its signals. Streams only: a datagram pair could send to any socket
/// that has a path. The type's other bits are flags (socket(2)).
pub const STREAM_PAIRS: Sometimes = Sometimes {
    calls: &[libc::SYS_socketpair],
    arguments: &[(0, WHOLE, libc::AF_UNIX), (1, 0xf, libc::SOCK_STREAM)],
};

/// New memory that is never executable.
pub const NEVER_EXECUTABLE: Sometimes = Sometimes {
    calls: &[libc::SYS_mmap, libc::SYS_mprotect],
    arguments: &[(2, libc::PROT_EXEC.cast_unsigned(), 0)],
};

impl Calls {
    /// How many are allowed whatever their arguments are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.always.iter().map(|group| group.len()).sum()
    }

    fn rules(&self) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            self.always.iter().copied().flatten().map(|call| (*call, Vec::new())).collect();
        for Sometimes { calls, arguments } in self.sometimes {
            let is = |(argument, mask, value): &(u8, u32, i32)| {
                let (bits, value) = (SeccompCmpOp::MaskedEq((*mask).into()), value.cast_unsigned().into());
                SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, bits, value)
            };
            let rule = SeccompRule::new(arguments.iter().map(is).collect::<Result<_, _>>()?)?;
            calls.iter().for_each(|call| rules.entry(*call).or_default().push(rule.clone()));
        }
        Ok(rules)
    }
}

/// Lets only these calls through; any other kills the process.
pub(crate) fn only(calls: &Calls) -> Result<(), ConfineError> {
    install(calls.rules()?, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// Lets only these calls through; any other fails with EPERM.
pub(crate) fn others_fail(calls: &Calls) -> Result<(), ConfineError> {
    install(calls.rules()?, SeccompAction::Errno(libc::EPERM.cast_unsigned()), SeccompAction::Allow)
}

/// Makes these calls look as if the kernel did not have them (ENOSYS).
pub fn missing(calls: &[i64]) -> Result<(), ConfineError> {
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    install(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))
}

fn install(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<(), ConfineError> {
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, TargetArch::x86_64)?.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}
