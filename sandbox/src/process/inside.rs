//! The sandbox's first process, from its fork to init: every step gives something up.
#![forbid(unsafe_code)]

use super::{Plan, READY, root};
use closedpaw_confine::{Capability, no_new_privileges, only_capabilities, workload};
use closedpaw_protocol::Device;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};
use std::convert::Infallible;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Bytes of init's stack; it gives every program the usual one back.
const STACK: u64 = 256 * 1024;

/// What init needs: to become the caller, and to signal what it started.
const KEPT: [Capability; 3] = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL];

/// Becomes init, or says why not, here and to whoever waits for it.
pub(super) fn become_init(plan: &Plan, mut say: PipeWriter, listen: PipeReader) -> io::Error {
    let Err(error) = give_up(plan, &mut say, listen);
    // If nobody listens, there is nobody to be told.
    let _ = write!(say, "{error}");
    error
}

fn give_up(plan: &Plan, say: &mut PipeWriter, mut listen: PipeReader) -> io::Result<Infallible> {
    setsid()?;
    let namespaces = [
        CloneFlags::CLONE_NEWNS,
        CloneFlags::CLONE_NEWNET,
        CloneFlags::CLONE_NEWIPC,
        CloneFlags::CLONE_NEWUTS,
        CloneFlags::CLONE_NEWCGROUP,
    ];
    unshare(namespaces.into_iter().collect())?;
    root::enter(plan)?;
    unshare(CloneFlags::CLONE_NEWUSER)?;
    say.write_all(&[READY])?;
    listen.read_exact(&mut [0])?;
    setgroups(&[])?;
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group)?;
    setresuid(root, root, root)?;
    limits(plan)?;
    only_capabilities(&KEPT).map_err(io::Error::other)?;
    no_new_privileges().map_err(io::Error::other)?;
    let mut init = Command::new("/closedpaw/init");
    init.args(["serve", &plan.uid.to_string(), &plan.gid.to_string()]).env_clear().stderr(Stdio::null());
    init.args(plan.kvm.then_some(Device::Kvm.name()));
    // What executes a program is on the list; what else it takes was done before.
    workload::on_the_hosts_kernel().map_err(io::Error::other)?;
    Err(init.exec())
}

fn limits(plan: &Plan) -> io::Result<()> {
    // Nobody here may raise what the daemon has itself.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let files = plan.files.min(most);
    setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    // Not 0: with that, a program of the host's that looks at crashes is still started for one in here (core(5)).
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    let (_, most) = getrlimit(Resource::RLIMIT_STACK)?;
    setrlimit(Resource::RLIMIT_STACK, STACK, most)?;
    // Counted in the sandbox's own user namespace. It holds where there is no controller for it, too.
    if plan.processes > 0 {
        setrlimit(Resource::RLIMIT_NPROC, plan.processes, plan.processes)?;
    }
    Ok(())
}
