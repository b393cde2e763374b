//! A whole ClosedPaw of its own for one test: root's folders, a daemon, people with keys and workspaces.
//!
//! Tests run as root and act as ordinary people: their programs run under `setpriv`, their raw connections are made by
//! a thread that has become them. Whatever a world made is gone with it, and so is every process it started.
//!
//! What has to be on the machine: the users `closedpaw`, `closedpaw-test` and `closedpaw-test2`, the last two in the
//! group `closedpaw`; a prefix with the programs (`CLOSEDPAW_TEST_PREFIX`); a `runsc` that is root's
//! (`CLOSEDPAW_TEST_RUNSC`).
#![forbid(unsafe_code)]

mod build;
mod log;
mod manager;
mod people;
mod processes;
mod wait;

pub use build::Builder;
pub use log::{Records, word};
pub use manager::Manager;
pub use people::{Person, Ran, interrupt};
pub use processes::{field, running_from, scheduling, tree};
pub use wait::{LONG, until, within};

use crate::raw::Raw;
use closedpaw_protocol::message::{Reply, Request, SandboxState, Status};
use processes::Process;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The folder under which everything of the tests lies.
const BASE: &str = "/var/lib/closedpaw-test";

/// Where the programs under test are.
pub fn prefix() -> PathBuf {
    std::env::var_os("CLOSEDPAW_TEST_PREFIX").map_or_else(|| Path::new(BASE).join("prefix"), PathBuf::from)
}

/// The runtime under test.
pub fn runsc() -> PathBuf {
    std::env::var_os("CLOSEDPAW_TEST_RUNSC")
        .map_or_else(|| PathBuf::from("/var/lib/closedpaw-dev/usr/runsc"), PathBuf::from)
}

/// The daemon's program.
pub fn closedpawd() -> PathBuf {
    prefix().join("bin/closedpawd")
}

/// The client's program.
pub fn closedpawctl() -> PathBuf {
    prefix().join("bin/closedpawctl")
}

/// SHA-256 of a file, by an outside tool.
pub fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// One installation with its daemon and people.
pub struct World {
    prefix: PathBuf,
    root: PathBuf,
    work: PathBuf,
    daemon: Option<Child>,
    manager: Option<Manager>,
    /// A program that the daemon is started by, with the daemon's command line as its own.
    pub started_by: Option<PathBuf>,
    /// The person most tests act as: `closedpaw-test`, with an approver's key.
    pub person: Person,
    /// Somebody else on the same machine: `closedpaw-test2`; a key only with [`Builder::second_key`].
    pub other: Person,
}

impl World {
    /// As shipped: the repository's policy and profiles, the runtime pinned, the person's key enrolled, running.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A world that differs.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The folder under which the daemon's `/etc`, `/run` and `/var` are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `etc/closedpaw`.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc/closedpaw")
    }

    /// `var/lib/closedpaw`.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/closedpaw")
    }

    /// `run/closedpaw`.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/closedpaw")
    }

    /// The folder of the log.
    pub fn audit(&self) -> PathBuf {
        self.root.join("var/log/closedpaw/audit")
    }

    /// The log itself.
    pub fn audit_file(&self) -> PathBuf {
        self.audit().join("audit.jsonl")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run().join("closedpawd.sock")
    }

    /// A folder of the test's own: root's, but everybody may enter it. Gone with the world.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The daemon's public key as its clients pin it.
    pub fn daemon_key(&self) -> closedpaw_protocol::KeyId {
        fs::read_to_string(self.etc().join("daemon.pub")).unwrap().trim().parse().unwrap()
    }

    /// Runs `closedpawctl` as the person, in the person's workspace, and waits for it.
    pub fn ctl(&self, words: &[&str]) -> Ran {
        self.person.ctl(words)
    }

    /// `closedpawctl` as root, which enrols and revokes keys.
    pub fn ctl_as_root(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(closedpawctl());
        command.env_clear().env("HOME", "/nonexistent").env("CLOSEDPAW_SOCKET", self.socket());
        command.args(words).stdin(Stdio::null());
        Ran::to_its_end(command)
    }

    /// `closedpawd --root … WORDS`, as root.
    pub fn closedpawd(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(self.daemon_program());
        command.arg("--root").arg(&self.root).args(words).stdin(Stdio::null());
        Ran::to_its_end(command)
    }

    fn daemon_program(&self) -> PathBuf {
        self.prefix.join("bin/closedpawd")
    }

    /// A connection of the person's after the first frames.
    pub fn raw(&self) -> Raw {
        self.person.raw()
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.try_start()
            .unwrap_or_else(|status| panic!("the daemon ended with {status}:\n{}", self.daemon_log()));
    }

    /// Starts the daemon; the status it ended with if it would not serve.
    pub fn try_start(&mut self) -> Result<(), ExitStatus> {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        fs::write(self.stray(), "root's").unwrap();
        let mut command = Command::new("/bin/sh");
        // Whoever starts it has something open of its own, or is a manager that names the daemon it hands something to.
        let manager = self.manager.is_some();
        let first = if manager { "export LISTEN_PID=$$" } else { "exec 9<\"$0\"" };
        command.arg("-c").arg(format!("{first}; exec \"$@\"")).arg(self.stray());
        command.args(&self.started_by).arg(self.daemon_program());
        command.arg("--root").arg(&self.root).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(manager) = &self.manager {
            manager.prepare(&mut command);
        }
        let mut daemon = command.spawn().unwrap();
        drop(command);
        let answered = until("the daemon answers or ends", || {
            if let Some(status) = daemon.try_wait().unwrap() {
                return Some(Err(status));
            }
            let socket = self.person.dial().ok()?;
            Raw::begin(socket).map(|_| Ok(()))
        });
        self.daemon = answered.is_ok().then_some(daemon);
        answered
    }

    /// Ends the daemon as systemd does and waits for it. What it had started must end with it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("-TERM")
    }

    /// Ends the daemon without a word.
    pub fn kill9(&mut self) {
        self.signal("-KILL");
    }

    fn signal(&mut self, signal: &str) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let children = processes::below(daemon.id());
        let told = Command::new("kill").arg(signal).arg(daemon.id().to_string()).status().unwrap();
        assert!(told.success());
        let status = until("the daemon ends", || daemon.try_wait().unwrap());
        // What a manager keeps goes on.
        if self.manager.as_ref().is_none_or(|manager| manager.stored().is_empty()) {
            self.nothing_remains(&children);
        }
        status
    }

    /// Waits for the daemon to end by itself, as when its other half was killed.
    pub fn ends(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        until("the daemon ends", || daemon.try_wait().unwrap())
    }

    /// The service manager, where the daemon has one.
    pub fn manager(&self) -> &Manager {
        self.manager.as_ref().expect("a managed world")
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Whether the daemon still is the process that was started.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    /// The launcher's process.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Every process below the daemon and every one of its sandboxes, by number.
    pub fn processes(&self) -> Vec<u32> {
        let mut all = self.daemon.as_ref().map(|daemon| processes::below(daemon.id())).unwrap_or_default();
        all.extend(processes::naming(&self.root));
        let mut all: Vec<u32> = all.iter().map(Process::id).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The command lines of all these processes.
    pub fn command_lines(&self) -> Vec<(u32, Vec<String>)> {
        let line = |process: u32| Some((process, processes::command_line(process)?));
        self.processes().into_iter().filter_map(line).collect()
    }

    /// The sandbox's own process: gVisor's, of which everything inside is threads, or where its kernel is the host's, init.
    pub fn sandbox_process(&self) -> Option<u32> {
        let is_sandboxs = |words: &[String]| {
            words.iter().any(|word| word == "boot")
                || words.first().is_some_and(|word| word == "/closedpaw/init")
        };
        self.command_lines().into_iter().find(|(_, words)| is_sandboxs(words)).map(|(process, _)| process)
    }

    /// That process and those that gVisor keeps for the address spaces of the programs inside.
    pub fn sandbox_processes(&self) -> Vec<u32> {
        let Some(boot) = self.sandbox_process() else { return vec![] };
        let below = processes::below(boot);
        std::iter::once(boot).chain(below.iter().map(Process::id)).collect()
    }

    fn nothing_remains(&self, children: &[Process]) {
        until("every process of the daemon's ends", || {
            let left = children.iter().filter(|process| process.lives()).count();
            (left + processes::naming(&self.root).len() == 0).then_some(())
        });
    }

    /// The person's sandboxes, as the daemon tells them.
    ///
    /// # Panics
    /// If it does not.
    pub fn sandboxes(&self) -> Vec<SandboxState> {
        match self.raw().request(&self.person.key(), &Request::Sandboxes, &[]) {
            Ok(Reply::Sandboxes(sandboxes)) => sandboxes,
            other => panic!("no list: {other:?}"),
        }
    }

    /// The daemon's state.
    pub fn status(&self) -> Status {
        match self.raw().request(&self.person.key(), &Request::Status, &[]) {
            Ok(Reply::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    /// Writes a file of `policy.d` and waits until it is in force.
    pub fn write_policy(&self, name: &str, text: &str) {
        let (mut raw, key) = (self.raw(), self.person.key());
        let mut revision = || match raw.request(&key, &Request::Status, &[]) {
            Ok(Reply::Status(status)) => status.revision,
            other => panic!("no status: {other:?}"),
        };
        let before = revision();
        self.put_policy(name, text);
        until("the policy is in force", || (revision() != before).then_some(()));
    }

    /// Writes a file of `policy.d` as an editor does, and waits for nothing.
    pub fn put_policy(&self, name: &str, text: &str) {
        let path = self.etc().join("policy.d").join(name);
        let draft = path.with_extension("new");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
    }

    /// What the daemon said on standard error since the world began.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A file of root's that is open in the daemon from its start, as if whoever started it had been careless.
    pub fn stray(&self) -> PathBuf {
        self.root.join("stray")
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The log's lines as they lie on the disk, the last of them perhaps unfinished.
    pub fn audit_lines(&self) -> Vec<String> {
        let text = fs::read(self.audit_file()).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// The log's records.
    pub fn records(&self) -> Records {
        Records::parse(&self.audit_lines())
    }

    /// Checks the log as the person does; every test that acts ends with it.
    pub fn verify_audit(&self) {
        let ran = self.ctl(&["audit", "verify"]);
        assert_eq!(ran.code, Some(0), "audit verify: {ran}");
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let children = processes::below(daemon.id());
            if std::thread::panicking() {
                eprintln!("--- the daemon said:\n{}", self.daemon_log());
                eprintln!("--- the log's end:\n{}", self.records().tail(12));
            }
            drop(Command::new("kill").arg("-TERM").arg(daemon.id().to_string()).status());
            let ended = wait::within(LONG, || daemon.try_wait().ok().flatten()).is_some();
            if !ended {
                drop(daemon.kill());
                drop(daemon.wait());
            }
            // A manager lets go of what it keeps for a service that was stopped.
            drop(self.manager.take());
            if !std::thread::panicking() {
                assert!(ended, "the daemon does not end");
                self.nothing_remains(&children);
            }
        }
        processes::unmount_below(&self.root);
        processes::unmount_below(&self.work);
        drop(fs::remove_dir_all(&self.root));
        drop(fs::remove_dir_all(&self.work));
    }
}
