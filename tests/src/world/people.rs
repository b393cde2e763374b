//! People: ordinary users with a home, a key and a workspace.
#![forbid(unsafe_code)]

use super::closedpawctl;
use super::wait::{LONG, until, within};
use crate::raw::Raw;
use closedpaw_protocol::KeyId;
use ed25519_dalek::SigningKey;
use rustix::process::{Gid, Uid};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// One person.
#[derive(Debug, Clone)]
pub struct Person {
    /// The user's name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// Every other group.
    pub groups: Vec<u32>,
    /// The home folder, of this world alone.
    pub home: PathBuf,
    /// The folder this person works on.
    pub workspace: PathBuf,
    socket: PathBuf,
}

/// What came of a program.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Runs a program to its end, which must come.
    pub fn to_its_end(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id().to_string();
        let run = std::thread::spawn(move || child.wait_with_output().unwrap());
        if within(LONG * 2, || run.is_finished().then_some(())).is_none() {
            drop(Command::new("kill").args(["-KILL", &id]).status());
            panic!("it does not end: {command:?}");
        }
        Self::of(run.join().unwrap())
    }

    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its standard output, which must be JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?}\nstdout: {}\nstderr: {}", self.code, self.out, self.err)
    }
}

/// Ctrl-C for a client that runs: it ends within a second, as one that was interrupted (128 + SIGINT).
#[track_caller]
pub fn interrupt(client: &mut Child) {
    let began = Instant::now();
    assert!(Command::new("kill").args(["-INT", &client.id().to_string()]).status().unwrap().success());
    let status = until("the client ends", || client.try_wait().unwrap());
    let took = began.elapsed();
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

impl Person {
    /// The user of that name, with a home and a workspace under `work`.
    pub(super) fn settle(name: &str, work: &Path, socket: &Path) -> Self {
        let number = |words: &[&str]| -> Vec<u32> {
            let output = Command::new("id").args(words).arg(name).output().unwrap();
            assert!(output.status.success(), "there is no user {name}; ./test makes it");
            String::from_utf8(output.stdout)
                .unwrap()
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect()
        };
        let (uid, gid) = (number(&["-u"])[0], number(&["-g"])[0]);
        assert_ne!(uid, 0);
        let person = Self {
            name: name.to_owned(),
            uid,
            gid,
            groups: number(&["-G"]),
            home: work.join(format!("{name}-home")),
            workspace: work.join(format!("{name}-workspace")),
            socket: socket.to_owned(),
        };
        person.own_folder(&person.home, 0o700);
        person.own_folder(&person.workspace, 0o755);
        person
    }

    /// Makes a folder of this person's.
    pub fn own_folder(&self, path: &Path, mode: u32) {
        fs::create_dir(path).unwrap();
        chown(path, Some(self.uid), Some(self.gid)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a file of this person's into the workspace.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.workspace.join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(self.uid), Some(self.gid)).unwrap();
        path
    }

    /// A program that runs as this person, in the workspace, with nothing in its environment but home and socket.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--reuid").arg(self.uid.to_string()).arg("--regid").arg(self.gid.to_string());
        command.args(["--init-groups", "--"]).arg(program);
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin").env("USER", &self.name);
        command.env("CLOSEDPAW_SOCKET", &self.socket).current_dir(&self.workspace).stdin(Stdio::null());
        command
    }

    /// `closedpawctl WORDS` as this person, not started yet.
    pub fn ctl_command(&self, words: &[&str]) -> Command {
        let mut command = self.command(&closedpawctl());
        command.args(words);
        command
    }

    /// Runs `closedpawctl WORDS` as this person.
    pub fn ctl(&self, words: &[&str]) -> Ran {
        Ran::to_its_end(self.ctl_command(words))
    }

    /// Makes this person's approver key and gives its public half.
    pub(super) fn generate_key(&self) -> KeyId {
        let ran = self.ctl(&["key", "generate"]);
        assert_eq!(ran.code, Some(0), "{ran}");
        ran.out.trim().parse().unwrap()
    }

    /// This person's approver key. Whoever can read the home folder has it; root can.
    pub fn key(&self) -> SigningKey {
        let path = self.home.join(".config/closedpaw/approver.key");
        let seed: KeyId = fs::read_to_string(&path).expect("this person has a key").trim().parse().unwrap();
        SigningKey::from_bytes(&seed.0)
    }

    /// Where this person's client keeps the last head it saw of the daemon with this key.
    pub fn kept_head(&self, daemon: &KeyId) -> PathBuf {
        self.home.join(".local/state/closedpaw").join(format!("head-{}", daemon.short()))
    }

    /// Does something as this person: a thread becomes the user and ends with it (the kernel keeps credentials for
    /// each thread; credentials(7)).
    pub fn become_for<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let groups: Vec<Gid> = self.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
                rustix::thread::set_thread_groups(&groups).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects to the daemon's socket as this person.
    pub fn dial(&self) -> io::Result<UnixStream> {
        self.become_for(|| UnixStream::connect(&self.socket))
    }

    /// A connection of this person's after the first frames.
    pub fn raw(&self) -> Raw {
        Raw::begin(self.dial().expect("the daemon's socket")).expect("the daemon's first frame")
    }
}
