//! What a program in a sandbox may call. Reviewed data: one topic a paragraph.
//!
//! Left out on purpose: mounts, modules, bpf, io_uring, keyrings, userfaultfd, perf, ptrace and friends, pidfd_getfd, kexec,
//! swap, quota, clocks, namespaces by name (setns, unshare), open_by_handle_at, process_vm_*, personality.
#![forbid(unsafe_code)]

use crate::ConfineError;
use crate::calls::{self, Calls, Sometimes, WHOLE};

/// Calls by name and by number, in the same order.
#[derive(Debug)]
pub struct Group {
    names: &'static [&'static str],
    numbers: &'static [i64],
}

impl Group {
    /// The names with their numbers.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.names().zip(self.numbers.iter().copied())
    }

    /// The names as execution environments know them (seccomp(2), OCI): without the prefix of C's headers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.names.iter().map(|name| name.trim_start_matches("SYS_"))
    }
}

macro_rules! group {
    ($($call:ident)*) => {
        Group { names: &[$(stringify!($call)),*], numbers: &[$(libc::$call),*] }
    };
}

/// In every sandbox.
#[rustfmt::skip]
pub const EVERYWHERE: Group = group! {
    // files by descriptor
    SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2
    SYS_pwritev2 SYS_lseek SYS_close SYS_close_range SYS_dup SYS_dup2 SYS_dup3 SYS_fcntl SYS_flock SYS_fsync
    SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_ftruncate SYS_fallocate SYS_fadvise64
    SYS_readahead SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_copy_file_range SYS_ioctl SYS_getdents
    SYS_getdents64

    // files by name
    SYS_open SYS_openat SYS_openat2 SYS_creat SYS_access SYS_faccessat SYS_faccessat2 SYS_stat SYS_lstat
    SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs SYS_readlink SYS_readlinkat SYS_rename
    SYS_renameat SYS_renameat2 SYS_link SYS_linkat SYS_symlink SYS_symlinkat SYS_unlink SYS_unlinkat SYS_mkdir
    SYS_mkdirat SYS_rmdir SYS_mknod SYS_mknodat SYS_chmod SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_chown
    SYS_fchown SYS_lchown SYS_fchownat SYS_truncate SYS_umask SYS_chdir SYS_fchdir SYS_getcwd SYS_utime
    SYS_utimes SYS_utimensat SYS_futimesat SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr
    SYS_llistxattr SYS_flistxattr SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr
    SYS_fremovexattr SYS_inotify_init SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
    SYS_memfd_create

    // memory
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk SYS_msync SYS_mincore SYS_mlock SYS_mlock2
    SYS_munlock SYS_mlockall SYS_munlockall SYS_membarrier SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
    SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl

    // processes and threads (clone is allowed without the flags that make namespaces; init makes clone3 answer ENOSYS,

    // which no filter can be exact about: its flags lie in memory, where no filter sees them)
    SYS_clone3 SYS_fork SYS_vfork SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid
    SYS_kill SYS_tkill SYS_tgkill SYS_getpid SYS_getppid SYS_gettid SYS_getpgid SYS_getpgrp SYS_setpgid
    SYS_getsid SYS_setsid SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_futex
    SYS_futex_waitv SYS_rseq SYS_arch_prctl SYS_prctl SYS_sched_yield SYS_sched_getaffinity
    SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getattr SYS_sched_setattr
    SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority SYS_getcpu SYS_ioprio_get SYS_ioprio_set
    SYS_pidfd_open SYS_pidfd_send_signal SYS_restart_syscall

    // identity, limits, the machine
    SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getgroups SYS_getresuid SYS_getresgid SYS_setuid
    SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid
    SYS_capget SYS_capset SYS_getrlimit SYS_getrusage SYS_times SYS_sysinfo SYS_uname

    // signals and time
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo
    SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_tgsigqueueinfo SYS_sigaltstack SYS_signalfd SYS_signalfd4
    SYS_pause SYS_alarm SYS_getitimer SYS_setitimer SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime
    SYS_clock_getres SYS_gettimeofday SYS_time SYS_timer_create SYS_timer_settime SYS_timer_gettime
    SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime

    // waiting
    SYS_poll SYS_ppoll SYS_select SYS_pselect6 SYS_epoll_create SYS_epoll_create1 SYS_epoll_ctl
    SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd
    SYS_eventfd2 SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents

    // pipes, sockets that there are, what System V and POSIX share
    SYS_pipe SYS_pipe2 SYS_bind SYS_connect SYS_listen SYS_accept SYS_accept4 SYS_getsockname SYS_getpeername
    SYS_getsockopt SYS_setsockopt SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_sendmmsg SYS_recvmmsg
    SYS_shutdown SYS_semget SYS_semop SYS_semctl SYS_semtimedop SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr

    // chance, and giving up more
    SYS_getrandom SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
};

/// Where the sandbox has a kernel of its own, besides: there is no device to reach anything with by a socket, and gVisor's
/// kernel log is its own, which the start gate reads.
#[rustfmt::skip]
pub const WITH_OWN_KERNEL: Group = group! {
    SYS_socket SYS_socketpair SYS_setrlimit SYS_prlimit64 SYS_syslog SYS_sethostname
    SYS_get_mempolicy SYS_set_mempolicy SYS_mbind
};

/// The number of a call that some sandbox may make.
#[must_use]
pub fn number(name: &str) -> Option<i64> {
    let mut all = EVERYWHERE.calls().chain(WITH_OWN_KERNEL.calls()).chain([("clone", libc::SYS_clone)]);
    all.find(|(call, _)| *call == name).map(|(_, number)| number)
}

/// What init itself calls, and its own programs that list, read and write files: whatever an admin's list leaves out, a
/// sandbox cannot do without these. They are no way around that list: init installs it for each command.
#[rustfmt::skip]
pub const OF_INIT: Group = group! {
    // the channel, and what programs put out
    SYS_read SYS_write SYS_readv SYS_writev SYS_close SYS_close_range SYS_dup SYS_dup2 SYS_dup3 SYS_fcntl SYS_ioctl
    SYS_lseek SYS_pread64 SYS_pwrite64 SYS_pipe SYS_pipe2 SYS_poll SYS_ppoll SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_wait
    SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4 SYS_timerfd_create SYS_timerfd_settime

    // looking around, and files
    SYS_open SYS_openat SYS_openat2 SYS_stat SYS_lstat SYS_fstat SYS_newfstatat SYS_statx SYS_statfs SYS_fstatfs
    SYS_access SYS_faccessat SYS_faccessat2 SYS_getdents64 SYS_readlink SYS_readlinkat SYS_getcwd SYS_chdir SYS_fchdir
    SYS_mkdir SYS_mkdirat SYS_unlink SYS_unlinkat SYS_rename SYS_renameat SYS_renameat2 SYS_ftruncate SYS_fallocate
    SYS_fchmod SYS_fchmodat SYS_fsync SYS_fdatasync SYS_umask SYS_fadvise64 SYS_copy_file_range SYS_sendfile SYS_splice
    SYS_flock

    // memory
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk

    // starting a program as the person, and its end
    SYS_clone3 SYS_fork SYS_vfork SYS_execve SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill
    SYS_setgroups SYS_setresgid SYS_setresuid SYS_setgid SYS_setuid SYS_setsid SYS_setpgid SYS_getpgid SYS_getsid
    SYS_getrlimit SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self

    // itself, its threads, its signals, its time
    SYS_getpid SYS_getppid SYS_gettid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_arch_prctl SYS_prctl SYS_capget
    SYS_set_tid_address SYS_set_robust_list SYS_rseq SYS_futex SYS_sched_yield SYS_sched_getaffinity SYS_membarrier
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall SYS_clock_gettime
    SYS_clock_nanosleep SYS_nanosleep SYS_getrandom SYS_uname SYS_sysinfo
    SYS_setrlimit SYS_prlimit64 SYS_syslog
};

/// The flags of clone(2) that make a namespace.
pub const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// Processes and threads, but no namespaces.
const NO_NAMESPACES: Sometimes =
    Sometimes { calls: &[libc::SYS_clone], arguments: &[(0, NAMESPACE_FLAGS, 0)] };

/// Sockets within the sandbox only. An address family of another kind may know no network namespace, as AF_VSOCK, which leads from a
/// virtual machine to its host, or be a way into the kernel, as AF_ALG and AF_NETLINK were.
const UNIX_SOCKETS: Sometimes =
    Sometimes { calls: &[libc::SYS_socket, libc::SYS_socketpair], arguments: &[(0, WHOLE, libc::AF_UNIX)] };

/// What a sandbox without a kernel of its own may call of the host's.
///
/// Of the limits any but the one for core files, whose number is 4: each line has a bit that 4 has not, or lacks the one that it
/// has. At a limit of 1 the kernel starts no program of the host's to look at a crash (core(5)); a workload that could choose
/// another limit could have it started.
const ON_THE_HOSTS_KERNEL: Calls = Calls {
    always: &[EVERYWHERE.numbers],
    sometimes: &[
        NO_NAMESPACES,
        UNIX_SOCKETS,
        Sometimes { calls: &[libc::SYS_setrlimit], arguments: &[(0, 1, 1)] },
        Sometimes { calls: &[libc::SYS_setrlimit], arguments: &[(0, 2, 2)] },
        Sometimes { calls: &[libc::SYS_setrlimit], arguments: &[(0, 4, 0)] },
        Sometimes { calls: &[libc::SYS_setrlimit], arguments: &[(0, 8, 8)] },
        Sometimes { calls: &[libc::SYS_prlimit64], arguments: &[(1, 1, 1)] },
        Sometimes { calls: &[libc::SYS_prlimit64], arguments: &[(1, 2, 2)] },
        Sometimes { calls: &[libc::SYS_prlimit64], arguments: &[(1, 4, 0)] },
        Sometimes { calls: &[libc::SYS_prlimit64], arguments: &[(1, 8, 8)] },
    ],
};

/// Lets this process, and all that it will start, call nothing else on the host's kernel; any other call fails with EPERM.
pub fn on_the_hosts_kernel() -> Result<(), ConfineError> {
    calls::others_fail(&ON_THE_HOSTS_KERNEL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Row S3: none of the ways into a kernel that a workload has no use for.
    #[test]
    fn what_breaks_out_is_on_no_list() {
        let calls: HashSet<_> = EVERYWHERE.names().chain(WITH_OWN_KERNEL.names()).collect();
        assert!(calls.len() > 200 && calls.contains("execve"));
        for call in [
            "ptrace",
            "mount",
            "umount2",
            "bpf",
            "io_uring_setup",
            "io_uring_enter",
            "keyctl",
            "add_key",
            "userfaultfd",
            "clone",
            "unshare",
            "setns",
            "init_module",
            "finit_module",
            "kexec_load",
            "perf_event_open",
            "open_by_handle_at",
            "process_vm_readv",
            "pidfd_getfd",
            "pivot_root",
            "chroot",
            "reboot",
            "swapon",
            "move_mount",
            "fsopen",
        ] {
            assert!(!calls.contains(call), "{call}");
        }
    }

    /// What the argument decides is on no list that lets a call through whatever its arguments are.
    #[test]
    fn a_call_is_on_one_list_only() {
        let sometimes: Vec<i64> =
            ON_THE_HOSTS_KERNEL.sometimes.iter().flat_map(|some| some.calls).copied().collect();
        assert!(sometimes.contains(&libc::SYS_socket) && sometimes.contains(&libc::SYS_prlimit64));
        for call in EVERYWHERE.numbers {
            assert!(!sometimes.contains(call) && !WITH_OWN_KERNEL.numbers.contains(call), "{call}");
        }
    }
}
