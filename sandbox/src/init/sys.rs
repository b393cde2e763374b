//! Init's own descriptors, starting a program without copying init, and system calls that must fail in a sandbox.

use super::User;
use super::program::Program;
use closedpaw_confine::filter::Filter;
use nix::pty::Winsize;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The channel: standard input and standard output, taken away from everything else in this process.
///
/// Both numbers are then pointed at `/dev/null`, so that nothing that prints by mistake can speak on the channel.
#[allow(unsafe_code)]
pub(super) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let move_away = |number: i32| {
        // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor, which nothing else owns yet.
        match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: as above: the number is new and open.
            new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
        }
    };
    let (from, to) = (move_away(0)?, move_away(1)?);
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok((from, to))
}

/// SIGCHLD as a descriptor (signalfd(2)): with a handler, the kernel inside would first run that, and it would then wake
/// this program by a socket.
#[allow(unsafe_code)]
pub(super) fn child_signal() -> io::Result<AsyncFd<SignalFd>> {
    let mut child = SigSet::empty();
    child.add(Signal::SIGCHLD);
    child.thread_block()?;
    let signal = SignalFd::with_flags(&child, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // SAFETY: a SignalFd owns its one descriptor and never changes or closes it before it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(signal, Interest::READABLE) }?)
}

/// What a child needs from the moment it exists until it is another program; it allocates nothing and frees nothing.
struct Birth<'a> {
    places: &'a [CString],
    cwd: &'a CString,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    user: User,
    streams: [c_int; 3],
    /// Whether the streams are a terminal, which is to be its own.
    terminal: bool,
    /// The system calls that it is left with, where there is such a list.
    filter: Option<libc::sock_fprog>,
    /// What the call that failed said; 0 while none has.
    error: c_int,
}

/// The stack that programs expect; init's own limit, which they would inherit, is small.
const USUAL_STACK: libc::rlimit = libc::rlimit { rlim_cur: 8 * 1024 * 1024, rlim_max: libc::RLIM_INFINITY };

/// Enough for [`born`], which calls the kernel and nothing else.
const STACK: usize = 64 * 1024;

/// Gives a terminal another size (TIOCSWINSZ(2const)).
#[allow(unsafe_code)]
pub(super) fn set_size(terminal: BorrowedFd<'_>, size: &Winsize) -> io::Result<()> {
    // SAFETY: the call reads one `winsize`, which is borrowed for its length.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, ptr::from_ref(size)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Starts a program as `user` in a process group of its own, with `streams` as its standard three. If these are a
/// `terminal`, it leads a session of its own, too, and the terminal is that session's.
///
/// The child shares init's memory and init waits until it is another program (`CLONE_VM | CLONE_VFORK`, as
/// posix_spawn(3) does, which knows no user): in gVisor a copied address space costs a third of a whole start.
#[allow(unsafe_code)]
pub(super) fn spawn(
    program: &Program,
    user: User,
    streams: [BorrowedFd<'_>; 3],
    terminal: bool,
) -> io::Result<i32> {
    let mut instructions = program.filter.as_ref().map(Filter::instructions);
    let filter = instructions.as_mut().map(|instructions| libc::sock_fprog {
        // No filter is longer than 4,096.
        len: u16::try_from(instructions.len()).unwrap_or(0),
        filter: instructions.as_mut_ptr(),
    });
    let list = |all: &[CString]| all.iter().map(|one| one.as_ptr()).chain([ptr::null()]).collect();
    let mut birth = Birth {
        places: &program.places,
        cwd: &program.cwd,
        argv: list(&program.argv),
        env: list(&program.env),
        user,
        streams: streams.map(|stream| stream.as_raw_fd()),
        terminal,
        filter,
        error: 0,
    };
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    // No handler of ours may run in the child while the memory is shared.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the stack's end is one past an owned, aligned allocation that outlives the child's use of it, because
    // CLONE_VFORK holds this thread until the child has called execve or _exit; so do `birth` and what it points to, which nobody else
    // reads or writes meanwhile. init has one thread, so no lock is held by another.
    let process = unsafe {
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        libc::clone(born, top, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, (&raw mut birth).cast())
    };
    let failed = io::Error::last_os_error();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match (process, birth.error) {
        (-1, _) => Err(failed),
        (process, 0) => Ok(process),
        // It has ended without having been anything; whoever waits for all children waits for it too.
        (_, errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The child. Returning ends it.
#[allow(unsafe_code)]
extern "C" fn born(birth: *mut c_void) -> c_int {
    // SAFETY: `spawn` gave a pointer to its own `Birth` and does not run until this process is done with it.
    let birth = unsafe { &mut *birth.cast::<Birth<'_>>() };
    birth.error = become_program(birth);
    127
}

/// Everything between the child's first instruction and execve(2), by raw calls: the wrappers of setresuid(3) and its
/// kin would want to tell other threads. Returns only if a call has failed, with its errno.
#[allow(unsafe_code)]
fn become_program(birth: &Birth<'_>) -> c_int {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    let User { uid, gid, domain } = birth.user;
    // SAFETY: plain system calls on numbers and on strings and arrays that `spawn` keeps alive and ended with null;
    // signal dispositions are this process's own (no CLONE_SIGHAND).
    unsafe {
        for (number, stream) in (0..).zip(birth.streams) {
            if libc::dup2(stream, number) == -1 {
                return errno();
            }
        }
        if libc::syscall(libc::SYS_setgroups, 0usize, 0usize) == -1
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
            || if birth.terminal { libc::setsid() } else { libc::setpgid(0, 0) } == -1
            || (birth.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) == -1)
            || libc::chdir(birth.cwd.as_ptr()) == -1
        {
            return errno();
        }
        // What Rust ignores is as usual again, and so is what is blocked.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if libc::setrlimit(libc::RLIMIT_STACK, &USUAL_STACK) == -1 {
            return errno();
        }
        if domain.is_some_and(|domain| enter(domain).is_err()) {
            return errno();
        }
        let none = SigSet::empty();
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ref(), ptr::null_mut());
        // From here on nothing is called but what every list has.
        if birth.filter.as_ref().is_some_and(|filter| {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0usize, ptr::from_ref(filter))
                == -1
        }) {
            return errno();
        }
        let mut worst = libc::ENOENT;
        for place in birth.places {
            libc::execve(place.as_ptr(), birth.argv.as_ptr(), birth.env.as_ptr());
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                // As execvp(3): a later place may still be right.
                libc::EACCES => worst = libc::EACCES,
                other => return other,
            }
        }
        worst
    }
}

/// Puts this thread into a Landlock domain (landlock_restrict_self(2)), for good. A bare system call: it allocates nothing.
#[allow(unsafe_code)]
pub(super) fn enter(domain: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two numbers, the first of an open descriptor; no memory is touched.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, domain.as_raw_fd(), 0usize) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the log of the kernel inside is gVisor's; a person's kernel shows other words, or nothing to a user.
#[allow(unsafe_code)]
pub(super) fn kernel_is_gvisor() -> bool {
    const READ_ALL: i32 = 3;
    let mut log = vec![0u8; 4096];
    // SAFETY: the buffer is owned and as long as is said.
    let length = unsafe { libc::klogctl(READ_ALL, log.as_mut_ptr().cast(), 4096) };
    usize::try_from(length)
        .ok()
        .and_then(|length| log.get(..length))
        .is_some_and(|log| log.windows(15).any(|words| words == b"Starting gVisor"))
}

/// System calls no workload here needs, each with arguments under which it would otherwise fail in another way.
#[allow(unsafe_code)]
pub(super) fn forbidden_calls_fail() -> bool {
    let refused = |call: i64| {
        // SAFETY: all arguments are null or -1, so whatever the kernel does it has no memory of ours to touch.
        let result = unsafe { libc::syscall(call, 0usize, 0usize, 0usize, 0usize, 0usize, 0usize) };
        let errno = io::Error::last_os_error().raw_os_error();
        result == -1 && matches!(errno, Some(libc::EPERM | libc::ENOSYS))
    };
    [libc::SYS_bpf, libc::SYS_io_uring_setup, libc::SYS_keyctl, libc::SYS_userfaultfd, libc::SYS_init_module]
        .into_iter()
        .all(refused)
}
