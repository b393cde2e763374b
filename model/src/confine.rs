//! What this process may still do once it reads anything: a reviewed list.
//!
//! Landlock: read one file, connect nowhere, signal nobody. seccomp: the calls below. Both hold for
//! the calling thread and those it starts, so this comes before any thread is.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::prctl;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::error::Error;
use crate::weights::Opened;

/// The oldest Landlock that will do: the first with scopes.
const LANDLOCK: ABI = ABI::V6;

/// Weights in hand, in a process that can read them and nothing else. Only [`confine`] makes one.
#[derive(Debug)]
pub struct Confined {
    weights: Opened,
}

impl Confined {
    /// The weights, for the one who compares them with their pin.
    #[must_use]
    pub(crate) fn into_weights(self) -> Opened {
        self.weights
    }
}

/// Gives up all that is not needed to read these weights and to answer on what is open.
///
/// # Errors
/// The kernel lacks a part of it; then nothing is to be read.
pub fn confine(weights: Opened) -> Result<Confined, Error> {
    let refused = |step| move |error: nix::Error| Error::Confinement { step, reason: error.to_string() };
    prctl::set_no_new_privs().map_err(refused("no_new_privs"))?;
    // Not even its own user's other processes may look into it, and it leaves no core.
    prctl::set_dumpable(false).map_err(refused("dumpable"))?;
    landlock(weights.file()).map_err(|reason| Error::Confinement { step: "landlock", reason })?;
    seccomp().map_err(|error| Error::Confinement { step: "seccomp", reason: error.to_string() })?;
    Ok(Confined { weights })
}

fn landlock(weights: &File) -> Result<(), String> {
    let said = |error: landlock::RulesetError| error.to_string();
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rule(PathBeneath::new(weights, AccessFs::ReadFile)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(said)?;
    if status.ruleset == RulesetStatus::FullyEnforced {
        Ok(())
    } else {
        Err("only a part is enforced".into())
    }
}

/// Two filters, of which the kernel takes the stricter answer. The first ends the process for what
/// nothing in it ever does on purpose; the second answers ENOSYS to whatever is not listed, which
/// is what a C library expects of an older kernel and so has a way around.
fn seccomp() -> Result<(), seccompiler::Error> {
    let never = NEVER.iter().map(|call| (*call, Vec::new())).collect();
    install(never, SeccompAction::Allow, SeccompAction::KillProcess)?;
    install(allowed()?, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()), SeccompAction::Allow)
}

fn install(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<(), seccompiler::Error> {
    let machine = std::env::consts::ARCH.try_into()?;
    let filter: BpfProgram = SeccompFilter::new(rules, otherwise, listed, machine)?.try_into()?;
    seccompiler::apply_filter_all_threads(&filter)
}

/// Calls whose only use here would be an attacker's.
const NEVER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
];

/// Calls that are allowed with any arguments.
const ALLOWED: &[i64] = &[
    // the weights, and the descriptors there are
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_close,
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // threads
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // time, chance, and how much memory there is
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sysinfo,
    // connections to the one socket; none can be made from here
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
];

/// All that is allowed, with what is allowed only so far.
fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Opening: to read. O_TMPFILE contains O_DIRECTORY, which alone is harmless.
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    rules.insert(libc::SYS_openat, vec![only(2, bits(writing), 0)?]);
    // Memory: never executable.
    rules.insert(libc::SYS_mmap, vec![only(2, bits(libc::PROT_EXEC), 0)?]);
    rules.insert(libc::SYS_mprotect, vec![only(2, bits(libc::PROT_EXEC), 0)?]);
    // A thread, not a process. clone3 hides its flags from a filter; without it the C library uses clone.
    rules.insert(libc::SYS_clone, vec![only(0, bits(libc::CLONE_THREAD), bits(libc::CLONE_THREAD))?]);
    // The name of a thread.
    rules.insert(libc::SYS_prctl, vec![only(0, u64::MAX, bits(libc::PR_SET_NAME))?]);
    // Ending itself: abort(3).
    rules.insert(libc::SYS_tgkill, vec![only(0, u64::from(u32::MAX), u64::from(std::process::id()))?]);
    // Sending on a connection, not to an address.
    rules.insert(libc::SYS_sendto, vec![only(4, u64::MAX, 0)?]);
    Ok(rules)
}

/// Of this argument, these bits must have this value.
fn only(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, Len::Qword, Op::MaskedEq(mask), value)?])
}

/// Flags as the kernel sees them in a register.
fn bits(flags: libc::c_int) -> u64 {
    u64::from(flags.unsigned_abs())
}

#[cfg(test)]
mod tests {
    //! Each attempt is made in a process of its own: this test program again, asked for one test.

    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus};

    use super::*;

    /// Confines this process to a file of ours and tries one thing.
    fn attempt(what: &str) -> bool {
        let folder = tempfile::tempdir().unwrap().keep();
        let (weights, other) = (folder.join("weights"), folder.join("other"));
        std::fs::write(&weights, "w").unwrap();
        std::fs::write(&other, "o").unwrap();
        let opened = Opened::new(&weights).unwrap();
        if what == "read what replaced the weights" {
            std::fs::rename(&other, &weights).unwrap();
        }
        confine(opened).unwrap();
        match what {
            "read the weights" => std::fs::read(&weights).is_ok_and(|bytes| bytes == b"w"),
            "start a thread" => std::thread::spawn(|| 7).join().is_ok_and(|seven| seven == 7),
            "read another file" => std::fs::read(&other).is_ok(),
            "read what replaced the weights" => std::fs::read(&weights).is_ok(),
            "write the weights" => File::options().append(true).open(&weights).is_ok(),
            "make a file" => File::create(folder.join("new")).is_ok(),
            "list a folder" => std::fs::read_dir(&folder).is_ok(),
            "remove a file" => std::fs::remove_file(&other).is_ok(),
            "start a process" => Command::new("/bin/true").status().is_ok(),
            "connect by TCP" => TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).is_ok(),
            "listen by TCP" => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(),
            "send by UDP" => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(),
            "connect to a Unix socket" => UnixStream::connect("/run/closedpaw/closedpawd.sock").is_ok(),
            "read its own memory" => {
                File::open("/proc/self/mem").and_then(|mut mem| mem.read(&mut [0; 1])).is_ok()
            }
            other => panic!("no attempt {other}"),
        }
    }

    const ASK: &str = "CLOSEDPAW_TEST_ATTEMPT";

    /// The child's side; does nothing when the whole suite runs.
    #[test]
    fn one_attempt() {
        if let Ok(what) = std::env::var(ASK) {
            let succeeded = attempt(&what);
            assert!(succeeded, "refused");
        }
    }

    fn ends(what: &str) -> ExitStatus {
        let mut program = Command::new(std::env::current_exe().unwrap());
        // The harness must not start a thread before us: confinement is for the threads there are.
        program.args(["--exact", "confine::tests::one_attempt", "--test-threads=1", "--nocapture"]);
        program.env(ASK, what).output().unwrap().status
    }

    #[test]
    fn what_it_needs_still_works() {
        for what in ["read the weights", "start a thread"] {
            assert!(ends(what).success(), "{what}");
        }
    }

    #[test]
    fn files_but_the_weights_are_out_of_reach() {
        for what in [
            "read another file",
            "read what replaced the weights",
            "write the weights",
            "make a file",
            "list a folder",
            "remove a file",
            "read its own memory",
        ] {
            let status = ends(what);
            assert!(!status.success() && status.signal().is_none(), "{what}: {status}");
        }
    }

    #[test]
    fn there_is_no_other_process() {
        assert!(!ends("start a process").success());
    }

    #[test]
    fn reaching_for_a_socket_ends_the_process() {
        for what in ["connect by TCP", "listen by TCP", "send by UDP", "connect to a Unix socket"] {
            assert_eq!(ends(what).signal(), Some(libc::SIGSYS), "{what}");
        }
    }

    #[test]
    fn no_call_is_both_allowed_and_deadly() {
        let allowed = allowed().unwrap();
        assert!(NEVER.iter().all(|call| !allowed.contains_key(call)));
    }
}
