//! `closedpaw-process`: makes a sandbox out of namespaces, where policy names the tier `process`, and ends.
//!
//! The launcher starts it as root in the place of a runtime. It reads its ten words and nothing else. What it makes is what
//! gVisor's bundle says, with the host's own kernel below it: the same root filesystem, the same id map, the same capabilities.
//!
//! All namespaces but the user namespace are made before that one, so they belong to the host's: whatever a process in the
//! sandbox comes to hold, its root's power included, is power over none of them.
#![deny(unsafe_code)]

mod inside;
mod root;
mod sys;

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the sandbox is to be, as the launcher says.
#[derive(Debug)]
struct Plan {
    /// The root filesystem.
    rootfs: PathBuf,
    /// Where the number of the sandbox's first process is written.
    pid_file: PathBuf,
    /// Who the sandbox's root is outside.
    root: u32,
    /// Who the workload is, inside and outside.
    uid: u32,
    gid: u32,
    /// Open files of one process, and processes of the workload; 0 for no limit.
    files: u64,
    processes: u64,
    /// Bytes of `/tmp`.
    tmp: u64,
    /// Whether `/dev/kvm` is there.
    kvm: bool,
    /// Whether the host's `/usr` is shown; else the root filesystem has all there is.
    host: bool,
    /// What `/workspace` shows, if anything.
    workspace: Option<PathBuf>,
}

impl Plan {
    /// The launcher's words, in this order; the last may be missing.
    fn of(words: Vec<OsString>) -> Option<Self> {
        let mut words = words.into_iter();
        let (rootfs, pid_file) = (words.next()?.into(), words.next()?.into());
        let mut number = || words.next()?.to_str()?.parse::<u64>().ok();
        let [root, uid, gid] = [number()?, number()?, number()?].map(|id| u32::try_from(id).ok());
        let (root, uid, gid) = (root?, uid?, gid?);
        let (files, processes, tmp) = (number()?, number()?, number()?);
        let flag = |number| match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let (kvm, host) = (flag(number()?)?, flag(number()?)?);
        let workspace = words.next().map(PathBuf::from);
        // The host's root is in nobody's map, whoever asks for it.
        let (roots, more) = ([root, uid, gid].contains(&0), words.next().is_some());
        (!roots && !more).then_some(Self {
            rootfs,
            pid_file,
            root,
            uid,
            gid,
            files,
            processes,
            tmp,
            kvm,
            host,
            workspace,
        })
    }

    /// The id map of user_namespaces(7): the sandbox's root, and the person.
    fn map(&self, person: u32) -> String {
        format!("0 {} 1\n{person} {person} 1\n", self.root)
    }
}

/// What the new process says when it is in its user namespace. Whatever else it says is why it could not go on.
const READY: u8 = 0;

/// Starts what its words say.
#[allow(clippy::print_stderr, reason = "the launcher's own journal is where this is read")]
pub fn main() -> ExitCode {
    let Some(plan) = Plan::of(std::env::args_os().skip(1).collect()) else { return ExitCode::from(64) };
    match start(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("closedpaw-process: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends when the sandbox's first process is init, or is nothing any more.
fn start(plan: &Plan) -> io::Result<()> {
    let (heard, say) = io::pipe()?;
    let (listen, told) = io::pipe()?;
    // Its first process is the next that is started.
    unshare(CloneFlags::CLONE_NEWPID)?;
    match sys::fork()? {
        Some(child) => {
            drop((say, listen));
            attend(plan, child, heard, told)
        }
        None => {
            drop((heard, told));
            Err(inside::become_init(plan, say, listen))
        }
    }
}

/// Gives the new process its ids, and waits until it is init.
fn attend(plan: &Plan, child: Pid, mut heard: PipeReader, mut told: PipeWriter) -> io::Result<()> {
    let mut first = [0xff];
    if heard.read(&mut first)? == 1 && first == [READY] {
        fs::write(format!("/proc/{child}/uid_map"), plan.map(plan.uid))?;
        fs::write(format!("/proc/{child}/gid_map"), plan.map(plan.gid))?;
        told.write_all(&[READY])?;
    }
    // What it holds of this pipe is closed when it is another program.
    let mut why = String::new();
    heard.read_to_string(&mut why)?;
    if why.is_empty() && waitpid(child, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive {
        return fs::write(&plan.pid_file, child.to_string());
    }
    Err(io::Error::other(format!("the sandbox's first process ended: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(words: &[&str]) -> Option<Plan> {
        Plan::of(words.iter().map(OsString::from).collect())
    }

    const GOOD: [&str; 10] = ["/root", "/pid", "1900000000", "1000", "1001", "1024", "512", "4096", "0", "1"];

    #[test]
    fn a_plan_has_a_workspace_or_none() {
        assert_eq!(plan(&GOOD).unwrap().workspace, None);
        let with = [&GOOD[..], &["/w"]].concat();
        assert_eq!(plan(&with).unwrap().workspace, Some(PathBuf::from("/w")));
        assert!(plan(&[&with[..], &["more"]].concat()).is_none());
        assert!(plan(&GOOD[..8]).is_none());
    }

    #[test]
    fn a_device_is_there_or_not() {
        for (word, kvm) in [("0", Some(false)), ("1", Some(true)), ("2", None), ("kvm", None)] {
            let mut words = GOOD;
            words[8] = word;
            assert_eq!(plan(&words).map(|plan| plan.kvm), kvm);
        }
    }

    #[test]
    fn the_hosts_usr_is_shown_or_not_and_nothing_between() {
        for (word, host) in [("0", Some(false)), ("1", Some(true)), ("2", None), ("", None)] {
            let mut words = GOOD;
            words[9] = word;
            assert_eq!(plan(&words).map(|plan| plan.host), host, "{word}");
        }
    }

    #[test]
    fn the_hosts_root_is_mapped_for_nobody() {
        for place in 2..5 {
            let mut words = GOOD;
            words[place] = "0";
            assert!(plan(&words).is_none(), "{words:?}");
        }
    }

    proptest! {
        /// Lines of user_namespaces(7): inside, outside, how many.
        #[test]
        fn a_map_has_the_sandboxs_root_and_the_person(root in 1u32.., person in 1u32..) {
            let words = [
                "/r".to_owned(), "/p".to_owned(), root.to_string(), person.to_string(), person.to_string(),
                "64".to_owned(), "0".to_owned(), "0".to_owned(), "0".to_owned(), "1".to_owned(),
            ];
            let plan = Plan::of(words.into_iter().map(OsString::from).collect()).unwrap();
            let map: Vec<Vec<u32>> = plan.map(person).lines()
                .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect();
            prop_assert_eq!(map, vec![vec![0, root, 1], vec![person, person, 1]]);
        }
    }
}
