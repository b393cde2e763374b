//! Init's own descriptors, and system calls that must fail in a sandbox.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

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
