//! The tries themselves: bare system calls, as code that has taken over a process would make them.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// A try that is ready to be made; gives 0 or an errno.
pub(crate) type Attempt = Box<dyn FnOnce() -> u8>;

/// `USERFAULTFD`, `io_uring_setup` and their like have no wrappers; a call's result is 0 or an errno.
fn tried(result: i64) -> u8 {
    if result >= 0 {
        return 0;
    }
    u8::try_from(std::io::Error::last_os_error().raw_os_error().unwrap_or(97)).unwrap_or(97)
}

macro_rules! call {
    ($($argument:expr),+) => {{
        // SAFETY: each argument is a number or points to memory that lives until the call has returned.
        tried(unsafe { libc::syscall($($argument),+) })
    }};
}

/// Makes ready what `what` needs; `None` if there is no such try.
pub(crate) fn prepare(what: &str, victim: i32) -> Option<Attempt> {
    let attempt: Attempt = match what {
        "socket-inet" => Box::new(|| call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)),
        "socket-udp" => Box::new(|| call!(libc::SYS_socket, libc::AF_INET6, libc::SOCK_DGRAM, 0)),
        "socket-unix" => Box::new(|| call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)),
        "socket-netlink" => Box::new(|| call!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0)),
        "connect" => connect(),
        "reconnect" => reconnect(),
        "socketpair-datagram" => Box::new(|| pair(libc::SOCK_DGRAM)),
        "socketpair-packet" => Box::new(|| pair(libc::SOCK_SEQPACKET)),
        "socketpair-stream" => {
            Box::new(|| pair(libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC))
        }
        "bind" => bound(),
        "open-passwd" => open("/etc/passwd".to_owned(), libc::O_RDONLY),
        "open-key" => open(std::env::var("PROBE_KEY").ok()?, libc::O_RDONLY),
        "open-write" => open(std::env::var("PROBE_FILE").ok()?, libc::O_WRONLY | libc::O_CREAT),
        "open-victim-memory" => open(format!("/proc/{victim}/mem"), libc::O_RDWR),
        "open-terminal" => open("/dev/ptmx".to_owned(), libc::O_RDWR),
        "openat2" => openat2(),
        "unlink" => {
            let path = path(&std::env::var("PROBE_FILE").ok()?)?;
            Box::new(move || call!(libc::SYS_unlink, path.as_ptr()))
        }
        "chdir" => Box::new(|| call!(libc::SYS_chdir, c"/".as_ptr())),
        "ptrace" => Box::new(move || call!(libc::SYS_ptrace, 0x4206, victim, 0, 0)),
        "process_vm_readv" => peek(victim),
        "pidfd_open" => Box::new(move || call!(libc::SYS_pidfd_open, victim, 0)),
        "pidfd_getfd" => {
            // SAFETY: plain system call.
            let process = unsafe { libc::syscall(libc::SYS_pidfd_open, victim, 0) };
            Box::new(move || call!(libc::SYS_pidfd_getfd, process, 1, 0))
        }
        "terminal-input" => terminal(0x5412),
        "terminal-size" => terminal(0x5413),
        "execve" => Box::new(|| {
            let words = [c"/bin/true".as_ptr(), std::ptr::null()];
            call!(libc::SYS_execve, words[0], words.as_ptr(), words.as_ptr().wrapping_add(1))
        }),
        "fork" => Box::new(|| {
            // SAFETY: the child only ends itself.
            match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
                // SAFETY: plain system call.
                0 => unsafe { libc::_exit(0) },
                result => tried(result),
            }
        }),
        "vfork" => Box::new(|| call!(libc::SYS_clone3, 0, 0).min(1)),
        "kill" => Box::new(move || call!(libc::SYS_kill, victim, 0)),
        "signal-by-descriptor" => signal_by_descriptor(victim),
        "tgkill" => Box::new(move || call!(libc::SYS_tgkill, victim, victim, 0)),
        "mmap-executable" => Box::new(|| map(libc::PROT_READ | libc::PROT_EXEC)),
        "mmap-everything" => Box::new(|| map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)),
        "mmap" => Box::new(|| map(libc::PROT_READ | libc::PROT_WRITE)),
        "mprotect-executable" => executable(),
        "io_uring_setup" => Box::new(|| call!(libc::SYS_io_uring_setup, 1, [0u8; 256].as_mut_ptr())),
        "bpf" => Box::new(|| call!(libc::SYS_bpf, 0, [0u8; 128].as_mut_ptr(), 128)),
        "userfaultfd" => Box::new(|| call!(libc::SYS_userfaultfd, 1)),
        "keyctl" => Box::new(|| call!(libc::SYS_keyctl, 0, -2, 0)),
        "unshare" => Box::new(|| call!(libc::SYS_unshare, libc::CLONE_NEWUSER)),
        "prctl-dumpable" => Box::new(|| call!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0)),
        "epoll" => Box::new(|| call!(libc::SYS_epoll_create1, 0)),
        "eventfd" => Box::new(|| call!(libc::SYS_eventfd2, 0, 0)),
        "memfd" => Box::new(|| call!(libc::SYS_memfd_create, c"input".as_ptr(), libc::MFD_ALLOW_SEALING)),
        "random" => Box::new(|| call!(libc::SYS_getrandom, [0u8; 8].as_mut_ptr(), 8, 0)),
        "execveat-memory" => from_memory(),
        _ => return None,
    };
    Some(attempt)
}

/// `F_SETSIG` of asm-generic/fcntl.h.
const F_SETSIG: i32 = 10;

/// Has the kernel send SIGKILL when a socket can be read (`F_SETOWN` and `O_ASYNC`, fcntl(2)).
fn signal_by_descriptor(victim: i32) -> Attempt {
    Box::new(move || {
        let mut ends = [-1; 2];
        let made = call!(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr());
        let calls = [
            made,
            call!(libc::SYS_fcntl, ends[0], libc::F_SETOWN, victim),
            call!(libc::SYS_fcntl, ends[0], F_SETSIG, libc::SIGKILL),
            call!(libc::SYS_fcntl, ends[0], libc::F_SETFL, libc::O_ASYNC),
            call!(libc::SYS_write, ends[1], c"x".as_ptr(), 1),
        ];
        calls.into_iter().max().unwrap_or(97)
    })
}

fn path(text: &str) -> Option<CString> {
    CString::new(text).ok()
}

fn open(name: String, flags: i32) -> Attempt {
    Box::new(move || {
        let Some(name) = path(&name) else { return 98 };
        call!(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), flags, 0o600)
    })
}

fn openat2() -> Attempt {
    Box::new(|| {
        let how = [0u64; 3];
        call!(libc::SYS_openat2, libc::AT_FDCWD, c"/etc/passwd".as_ptr(), how.as_ptr(), 24)
    })
}

fn pair(kind: i32) -> u8 {
    let mut ends = [0i32; 2];
    call!(libc::SYS_socketpair, libc::AF_UNIX, kind, 0, ends.as_mut_ptr())
}

fn address(port: u16) -> [u8; 16] {
    let mut address = [0u8; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    address
}

/// A socket that was there before; a listener waits for it.
fn connect() -> Attempt {
    let (socket, port) = unconnected();
    Box::new(move || {
        let address = address(port);
        call!(libc::SYS_connect, socket, address.as_ptr(), 16)
    })
}

/// The connection that was handed over, turned to another port.
fn reconnect() -> Attempt {
    let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", 0)) else { return Box::new(|| 98) };
    let port = listener.local_addr().map_or(0, |address| address.port());
    let Ok(stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return Box::new(|| 98) };
    let stream = stream.into_raw_fd();
    Box::new(move || {
        let none = [0u8; 16];
        let left = call!(libc::SYS_connect, stream, none.as_ptr(), 16);
        drop(listener);
        left
    })
}

fn bound() -> Attempt {
    let (socket, _) = unconnected();
    Box::new(move || {
        let address = address(0);
        call!(libc::SYS_bind, socket, address.as_ptr(), 16)
    })
}

fn unconnected() -> (RawFd, u16) {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).map_or(0, |listener| {
        let port = listener.local_addr().map_or(0, |address| address.port());
        std::mem::forget(listener);
        port
    });
    // SAFETY: plain system call.
    (unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) }, port)
}

fn peek(victim: i32) -> Attempt {
    let maps = fs::read_to_string(format!("/proc/{victim}/maps")).unwrap_or_default();
    let start = maps.split('-').next().and_then(|start| usize::from_str_radix(start, 16).ok()).unwrap_or(0);
    Box::new(move || {
        let mut byte = [0u8; 8];
        let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 8 };
        let remote = libc::iovec { iov_base: start as *mut libc::c_void, iov_len: 8 };
        call!(libc::SYS_process_vm_readv, victim, &raw const local, 1, &raw const remote, 1, 0)
    })
}

fn terminal(request: u64) -> Attempt {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: openpty writes two numbers; nothing else is asked for.
    unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        );
    }
    Box::new(move || {
        let mut byte = [b'y'; 8];
        call!(libc::SYS_ioctl, slave, request, byte.as_mut_ptr())
    })
}

fn map(protection: i32) -> u8 {
    call!(libc::SYS_mmap, 0, 4096, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
}

fn executable() -> Attempt {
    // SAFETY: a new private page that nothing else uses.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    Box::new(move || call!(libc::SYS_mprotect, page, 4096, libc::PROT_READ | libc::PROT_EXEC))
}

/// A program written to memory and run from there, without a file.
fn from_memory() -> Attempt {
    let Ok(program) = fs::read("/bin/true") else { return Box::new(|| 98) };
    // SAFETY: the name is a constant.
    let memory = unsafe { libc::memfd_create(c"program".as_ptr(), 0) };
    let written = fs::write(format!("/proc/self/fd/{memory}"), program).is_ok();
    let keep = File::open("/dev/null").map_or(-1, |null| null.as_raw_fd());
    Box::new(move || {
        if !written && keep < 0 {
            return 98;
        }
        let words = [c"true".as_ptr(), std::ptr::null()];
        call!(
            libc::SYS_execveat,
            memory,
            c"".as_ptr(),
            words.as_ptr(),
            words.as_ptr().wrapping_add(1),
            libc::AT_EMPTY_PATH
        )
    })
}
