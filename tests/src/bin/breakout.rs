//! Tries to get out of where it runs, and says what came of each attempt: a line `ATTEMPT reached` or `ATTEMPT stopped WHY`.
//!
//! `breakout listen PORT NAME`: is there to be reached, over TCP and an abstract socket.
//!
//! `breakout [NAME=VALUE…]`: the values are what the host has that an attempt is about; see `Host`. In the place of a runtime
//! (a file named `runsc`) it reads them from `/opt/breakout/host` and appends its lines to the runtime's log.
//!
//! `breakout shared [NAME=VALUE…]`: what is no way out, but shows whose kernel it is.
//!
//! Nothing that it reaches is harmed: files are opened and not written, and a signal is one that tells a process that runs to run.
#![forbid(unsafe_code)]

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::Pid;
use rustix::fs::{CWD, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

/// What there is on the host, by name.
struct Host(BTreeMap<String, String>);

impl Host {
    fn of(words: impl Iterator<Item = String>) -> Self {
        Self(
            words
                .filter_map(|word| Some(word.split_once('=')?).map(|(a, b)| (a.to_owned(), b.to_owned())))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> io::Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| io::Error::other("not told"))
    }

    fn process(&self, name: &str) -> io::Result<Pid> {
        self.get(name)?.parse().map(Pid::from_raw).map_err(io::Error::other)
    }
}

/// What is tried, and why it matters: its name, and what it takes from the host if it succeeds.
type Attempt = (&'static str, fn(&Host) -> io::Result<()>);

const ATTEMPTS: [Attempt; 20] = [
    ("read-passwords", |_| File::open("/etc/shadow").map(drop).or_else(by_another_name)),
    ("read-the-daemons-key", |host| File::open(host.get("key")?).map(drop)),
    ("write-to-the-log", |host| append(host.get("log")?)),
    ("read-anothers-home", |host| File::open(host.get("home")?).map(drop)),
    ("change-a-program", |_| append("/usr/bin/true").and_then(|()| hosts("/usr/bin/true"))),
    ("enrol-a-key", |host| File::create_new(Path::new(host.get("keys")?).join("breakout.new")).map(drop)),
    ("talk-to-the-daemon", |host| UnixStream::connect(host.get("socket")?).map(drop)),
    ("reach-the-network", |host| TcpStream::connect(host.get("port")?).map(drop)),
    ("reach-an-abstract-socket", |host| {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(host.get("abstract")?)?).map(drop)
    }),
    ("read-another-sandbox", |host| File::open(host.get("neighbour")?).map(drop)),
    ("change-another-sandbox", |host| append(host.get("neighbour")?)),
    ("signal-another-sandbox", |host| Ok(kill(host.process("neighbour-process")?, Signal::SIGCONT)?)),
    ("signal-the-daemon", |host| Ok(kill(host.process("daemon")?, Signal::SIGCONT)?)),
    ("trace-the-daemon", |host| Ok(ptrace::seize(host.process("daemon")?, Options::empty())?)),
    ("mount", |host| {
        kernels(host).and(Ok(mount(Some("none"), "/tmp", Some("tmpfs"), MsFlags::empty(), None::<&str>)?))
    }),
    ("make-a-device", |host| {
        let mode = Mode::from_bits_truncate(0o600);
        kernels(host)?;
        let device = host.get("device")?.parse().map_err(io::Error::other)?;
        mknod("/tmp/breakout-disk", SFlag::S_IFBLK, mode, device)?;
        File::open("/tmp/breakout-disk").map(drop)
    }),
    ("read-a-disk", |host| File::open(host.get("disk")?).map(drop)),
    ("read-kernel-memory", |_| File::open("/proc/kcore").and_then(|_| hosts("/proc/kcore"))),
    ("change-a-kernel-setting", |host| kernels(host).and_then(|()| append("/proc/sys/kernel/core_pattern"))),
    ("make-a-user-namespace", |host| kernels(host).and(Ok(unshare(CloneFlags::CLONE_NEWUSER)?))),
];

/// What a sandbox sees of the host only where the two have one kernel.
const SHARED: [Attempt; 2] = [
    ("see-the-hosts-kernel", kernels),
    ("see-how-long-the-host-is-up", |host| {
        let here = nix::sys::sysinfo::sysinfo()?.uptime().as_secs();
        let there = host.get("uptime")?.parse::<u64>().map_err(io::Error::other)?;
        if here >= there { Ok(()) } else { Err(io::Error::other("another time")) }
    }),
];

/// What goes by names has to know the others of a file: below a mount, in a tree that is mounted nowhere, under another process's
/// root.
fn by_another_name(refused: io::Error) -> io::Result<()> {
    let mounted = || {
        mount(Some("/etc"), "/tmp", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        let found = File::open("/tmp/shadow");
        umount2("/tmp", MntFlags::MNT_DETACH)?;
        found.map(drop)
    };
    let nowhere = || {
        let tree = open_tree(CWD, "/etc", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        Ok::<_, io::Error>(openat(tree, "shadow", OFlags::RDONLY, rustix::fs::Mode::empty()).map(drop)?)
    };
    let ways = [mounted(), nowhere(), File::open("/proc/1/root/etc/shadow").map(drop)];
    if ways.iter().any(Result::is_ok) { Ok(()) } else { Err(refused) }
}

fn append(path: impl AsRef<Path>) -> io::Result<()> {
    OpenOptions::new().append(true).open(path).map(drop)
}

/// gVisor has a kernel of its own, and what is done to that is done to nobody else.
fn kernels(host: &Host) -> io::Result<()> {
    let here = nix::sys::utsname::uname()?;
    if here.release().to_str() == Some(host.get("kernel")?) {
        Ok(())
    } else {
        Err(io::Error::other("not the host's kernel"))
    }
}

/// Whether it is the host's, and not something of that name that was made for a sandbox.
fn hosts(path: &str) -> io::Result<()> {
    if fs::metadata(path)?.len() > 0 { Ok(()) } else { Err(io::Error::other("empty")) }
}

/// Accepts and says nothing, until it is ended.
fn listen(port: &str, name: &str) -> io::Result<()> {
    let _tcp = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let _unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    writeln!(io::stdout(), "listening")?;
    loop {
        std::thread::park();
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, port, name] = words.as_slice()
        && word == "listen"
    {
        return if listen(port, name).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let stands_in = words.first().is_some_and(|word| word == "runsc");
    let outcome = if stands_in {
        in_a_runtimes_place(&words)
    } else if words.get(1).is_some_and(|word| word == "shared") {
        attempts(&SHARED, &Host::of(words.into_iter()), &mut io::stdout())
    } else {
        attempts(&ATTEMPTS, &Host::of(words.into_iter()), &mut io::stdout())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this cannot be told.
            let _ = writeln!(io::stderr(), "breakout: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attempts(list: &[Attempt], host: &Host, out: &mut impl Write) -> io::Result<()> {
    for (name, attempt) in list {
        match attempt(host) {
            Ok(()) => writeln!(out, "{name} reached")?,
            Err(error) => writeln!(out, "{name} stopped {error}")?,
        }
    }
    Ok(())
}

/// With the words that the launcher has for a runtime.
fn in_a_runtimes_place(words: &[String]) -> io::Result<()> {
    let after = |name: &str| words.iter().skip_while(|word| *word != name).nth(1);
    let (true, Some(log)) = (words.iter().any(|word| word == "run"), after("--log")) else { return Ok(()) };
    let text = fs::read_to_string("/opt/breakout/host")?;
    let mut log = OpenOptions::new().append(true).open(log)?;
    attempts(&ATTEMPTS, &Host::of(text.lines().map(str::to_owned)), &mut log)?;
    Err(io::Error::other("it is no runtime"))
}
