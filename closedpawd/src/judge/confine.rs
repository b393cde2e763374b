//! What the judge keeps of an ordinary process: four folders, one socket, and system calls that reach nothing else.
#![deny(unsafe_code)]

use crate::paths::Paths;
use caps::CapSet;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why the judge must not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    #[error("Landlock ABI 6 is missing (Linux 6.12 or newer with Landlock enabled is needed): {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("Landlock: {0}")]
    Path(#[from] landlock::PathFdError),
    #[error("Landlock is only partly enforced")]
    Partial,
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("prctl: {0}")]
    Prctl(#[from] nix::errno::Errno),
}

/// The Landlock version that Linux 6.12 has.
const FLOOR: ABI = ABI::V6;

/// Gives everything else up, for this thread and all that it will start.
pub(super) fn confine(paths: &Paths) -> Result<(), ConfineError> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set)?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    // Keys and policy in memory are nobody's to trace or dump.
    nix::sys::prctl::set_dumpable(false)?;
    landlock(paths)?;
    let filter =
        SeccompFilter::new(rules()?, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// [`CALLS`], and those that are harmless with some arguments only.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let is = |argument, mask, value: i32| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let whole = 0xffff_ffff;
    let mut rules: BTreeMap<i64, _> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    // Streams only: a datagram pair could send to any socket that has a path.
    let stream = SeccompRule::new(vec![is(0, whole, libc::AF_UNIX)?, is(1, 0xf, libc::SOCK_STREAM)?])?;
    rules.insert(libc::SYS_socketpair, vec![stream]);
    // New memory is never executable.
    let executable = u64::from(libc::PROT_EXEC.cast_unsigned());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![is(2, executable, 0)?])?]);
    }
    Ok(rules)
}

fn landlock(paths: &Paths) -> Result<(), ConfineError> {
    let read = AccessFs::from_read(FLOOR) & !AccessFs::Execute;
    let write = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::Truncate
        | AccessFs::RemoveFile;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(FLOOR))?
        .handle_access(AccessNet::from_all(FLOOR))?
        .scope(Scope::from_all(FLOOR))?
        .create()?;
    for (path, access) in [
        (paths.etc(), read),
        (paths.state(), write),
        (paths.audit(), write),
        // Which limits this host can give.
        (PathBuf::from("/sys/fs/cgroup"), read),
    ] {
        if path.exists() {
            ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
        }
    }
    let runtime = runtime_folder(paths);
    if let Some(folder) = runtime {
        // `status` compares the runtime with its pin.
        ruleset = ruleset
            .add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::ReadFile | AccessFs::ReadDir))?;
    }
    let status = ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::FullyEnforced { Ok(()) } else { Err(ConfineError::Partial) }
}

fn runtime_folder(paths: &Paths) -> Option<PathBuf> {
    let pin = std::fs::read_to_string(paths.runtime_pin()).ok()?;
    let (_, path) = pin.trim_end().split_once("  ")?;
    PathBuf::from(path).parent().filter(|folder| folder.is_dir()).map(PathBuf::from)
}

/// What serving sockets and appending to a log takes: no way to start a program, dial, or signal anybody else.
pub(super) const CALLS: &[i64] = &[
    // bytes and descriptors
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    libc::SYS_pipe2,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    // files under the folders that Landlock leaves
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_lseek,
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
    // waiting, threads, memory, time
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_poll,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_clone3,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_prctl,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_uname,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
