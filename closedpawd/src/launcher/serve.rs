//! The launcher's loop: orders of the judge, ends of children, signals; each handled without waiting.
#![forbid(unsafe_code)]

use super::bundle::{self, Bundle};
use super::disks::{self, Disk};
use super::judge::Judge;
use super::layer::Layer;
use super::runtimes::Runtimes;
use super::sandbox::{MOST, Sandbox, image_of, tier_of};
use super::selinux::SeLinux;
use super::setup::Programs;
use super::store::{Parts, Store};
use super::{cgroups, devices, image, internal, manager, orphans, saved, schedule, sys, tidy};
use crate::paths::Paths;
use crate::pulse::Pulse;
use crate::verbs::{Answer, MEMORY, ORDER, Saved, Verb};
use closedpaw_descriptors::{frames, handover, packet_pair};
use closedpaw_protocol::{ErrorCode, SandboxId, Tier};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// Between two looks at whether the runtime is done, where there is nothing else left to do.
const PAUSE: Duration = Duration::from_millis(2);

/// Everything the launcher holds.
pub(super) struct Launcher {
    paths: Paths,
    programs: Programs,
    judge: Judge,
    runtimes: Runtimes,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    jobs: Vec<Job>,
    going: BTreeMap<SandboxId, Sandbox>,
    selinux: Option<SeLinux>,
    store: Store,
}

/// A run of a runtime's program that an answer waits for, or where it takes none the end of the sandbox's own process.
struct Job {
    process: Option<Child>,
    ended: OwnedFd,
    sandbox: SandboxId,
    verb: Verb,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Run,
    Save,
    Delete,
}

/// The signals that the loop reads. They are blocked from before the judge starts: none may end the launcher unheard.
pub(super) fn heard() -> SigSet {
    let mut mask = SigSet::empty();
    [NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP, NixSignal::SIGCHLD]
        .into_iter()
        .for_each(|signal| mask.add(signal));
    mask
}

/// Finds the sandboxes that an earlier launcher has left: what this one holds of them, and what is the judge's.
pub(super) fn take_back(
    paths: &Paths,
    inherited: BTreeMap<SandboxId, Parts>,
) -> (BTreeMap<SandboxId, Sandbox>, Vec<(SandboxId, Parts)>) {
    let (mut sandboxes, mut left) = (BTreeMap::new(), Vec::new());
    for (id, mut parts) in inherited {
        if let Some(sandbox) = Sandbox::take_back(&paths.run(), id, &mut parts) {
            sandboxes.insert(id, sandbox);
            left.push((id, parts));
        } else if let Some(layer) = parts.layer() {
            // What was written outlives the sandbox that wrote it.
            Store::find().forget_life(id);
            left.push((id, layer));
        } else {
            Store::find().forget(id);
        }
    }
    (sandboxes, left)
}

/// What woke the loop.
enum Event {
    Order,
    Pulse,
    JudgeEnded,
    Signal(NixSignal),
    Job(usize),
}

impl Launcher {
    pub(super) fn new(
        paths: Paths,
        programs: Programs,
        judge: Judge,
        selinux: Option<SeLinux>,
        sandboxes: BTreeMap<SandboxId, Sandbox>,
    ) -> Self {
        let runtimes = Runtimes::new(&paths, &programs, selinux.as_ref());
        Self {
            paths,
            programs,
            judge,
            runtimes,
            sandboxes,
            jobs: Vec::new(),
            going: BTreeMap::new(),
            selinux,
            store: Store::find(),
        }
    }

    /// Serves until the judge ends or a signal says so. What the store has goes on; nothing else that was started does.
    pub(super) fn serve(mut self) -> ExitCode {
        self.remove_leftovers();
        self.tidy();
        let code = match self.run() {
            Ok(code) => code,
            Err(error) => {
                tracing::error!("launcher: {error}");
                ExitCode::from(70)
            }
        };
        // It may have ended by itself; if not, it has nothing left to decide.
        let _ = self.judge.process.kill();
        let _ = self.judge.process.wait();
        self.last_removals();
        self.take_down();
        code
    }

    /// Sandboxes whose removal the judge has ordered before it ended do not go on.
    fn last_removals(&mut self) {
        while let Ok(Some((bytes, _))) = frames::receive_packet::<ORDER>(&self.judge.socket) {
            match Verb::from_bytes(&bytes) {
                Ok((id, Verb::Remove)) => drop(self.end(id)),
                Ok((id, Verb::Unmount)) => self.unmount(id),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Ends a sandbox's processes. Its layer is no longer in its folder, but whoever has it open still has it, and so has the
    /// store.
    fn end(&mut self, id: SandboxId) -> Result<(), ErrorCode> {
        let mut sandbox = self.sandboxes.remove(&id).ok_or(ErrorCode::UnknownSandbox)?;
        if let Err(error) = sandbox.store_layer(id, self.store) {
            tracing::error!("launcher: the layer of {}: {error}", id.short());
        }
        sandbox.kill();
        self.store.forget_life(id);
        self.going.insert(id, sandbox);
        Ok(())
    }

    /// Lets a layer go. It is gone when the judge and whoever was given it have closed theirs.
    fn unmount(&mut self, id: SandboxId) {
        if let Some(sandbox) = self.sandboxes.get_mut(&id).or_else(|| self.going.get_mut(&id)) {
            sandbox.layer = None;
            sandbox.lent.merged = None;
        }
        self.store.forget_layer(id);
    }

    /// Nothing that was started, or was being started, outlives the launcher, but what the store keeps for the next one.
    fn take_down(&mut self) {
        let left = std::mem::take(&mut self.sandboxes).into_iter();
        self.sandboxes = left.filter_map(|(id, sandbox)| Some((id, *sandbox.leave().err()?))).collect();
        self.sandboxes.values_mut().for_each(Sandbox::kill);
        let jobs = std::mem::take(&mut self.jobs);
        self.finish(jobs.into_iter().filter_map(|job| job.process).collect());
        let mut all = std::mem::take(&mut self.sandboxes);
        all.append(&mut self.going);
        for sandbox in all.values_mut() {
            // One that was never started has no process.
            let _ = sandbox.watch_once();
            sandbox.kill();
        }
        let started = all.iter().filter_map(|(id, sandbox)| Some((id.to_string(), sandbox.tier?)));
        self.delete_all(started);
        for sandbox in all.values() {
            sandbox.wait();
            cgroups::remove(&sandbox.folder);
        }
    }

    /// What a launcher that was killed has left and nobody takes back: bundles, and what the runtime remembers of them.
    /// Their processes have ended with their relays, or do now.
    fn remove_leftovers(&mut self) {
        let folder = self.paths.run().join("sandboxes");
        let taken_back: Vec<_> = self.sandboxes.values().map(|sandbox| sandbox.folder.clone()).collect();
        let mut left: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        left.retain(|entry| !taken_back.contains(&entry.path()));
        // Before anything else has their uids: whatever of them lives, honest or not, with a runtime or without.
        left.iter().for_each(|entry| cgroups::kill(&entry.path()));
        let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        self.delete_all(left.iter().map(|entry| (name(entry), tier_of(&entry.path()))));
        for entry in left {
            cgroups::remove(&entry.path());
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!("{}: {error}", entry.path().display());
            }
        }
    }

    /// Has the runtimes forget sandboxes, all at once, and waits until they have.
    fn delete_all(&mut self, sandboxes: impl Iterator<Item = (String, Tier)>) {
        let delete = |(name, tier): (String, Tier)| {
            self.runtimes.of(tier).ok()?.forget(&name, None).ok()??.spawn().ok()
        };
        let deletions = sandboxes.filter_map(delete).collect();
        self.finish(deletions);
    }

    /// Waits for runs of the runtime, and meanwhile for the processes they wait to see gone. They end by themselves.
    fn finish(&self, mut runs: Vec<Child>) {
        loop {
            runs.retain_mut(|run| matches!(run.try_wait(), Ok(None)));
            if runs.is_empty() {
                return;
            }
            self.reap(&runs);
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for ended children but those that are waited for by name: `runs`, jobs, the judge.
    fn reap(&self, runs: &[Child]) {
        let jobs = self.jobs.iter().filter_map(|job| job.process.as_ref());
        let named = runs.iter().chain(jobs).chain([&self.judge.process]);
        orphans::reap(&named.map(Child::id).collect::<Vec<_>>());
    }

    fn run(&mut self) -> io::Result<ExitCode> {
        let signals = SignalFd::with_flags(&heard(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let judge_id = i32::try_from(self.judge.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::NotFound)?;
        let judge = pidfd_open(judge_id, PidfdFlags::empty())?;
        manager::pulse(Pulse::Ready);
        loop {
            match self.wait(&signals, &judge)? {
                Event::Order => {
                    if !self.order()? {
                        return Ok(ExitCode::FAILURE);
                    }
                }
                Event::Pulse => match self.judge.heard()? {
                    Some(pulse) => manager::pulse(pulse),
                    None => {
                        tracing::error!("launcher: the judge has fallen silent");
                        return Ok(ExitCode::FAILURE);
                    }
                },
                Event::JudgeEnded => {
                    tracing::error!("launcher: the judge has ended");
                    return Ok(ExitCode::FAILURE);
                }
                Event::Signal(NixSignal::SIGCHLD) => self.reap(&[]),
                Event::Signal(NixSignal::SIGHUP) => {
                    manager::reloading();
                    self.tidy();
                    rustix::process::kill_process(judge_id, Signal::HUP)?;
                }
                Event::Signal(signal) => {
                    tracing::info!("launcher: {signal}: stopping");
                    manager::stopping();
                    rustix::process::kill_process(judge_id, Signal::TERM)?;
                    let _ = self.judge.process.wait();
                    return Ok(ExitCode::SUCCESS);
                }
                Event::Job(index) => self.job_ended(index)?,
            }
        }
    }

    /// Clears away what has piled up.
    fn tidy(&self) {
        let sandboxes = self.sandboxes.values().chain(self.going.values());
        let used: Vec<_> = sandboxes.filter_map(|sandbox| sandbox.rootfs.clone()).collect();
        tidy::root_filesystems(&self.paths.run(), &used);
        if let Err(error) = tidy::runtime_log(&self.paths.runtime_log()) {
            tracing::warn!("{}: {error}", self.paths.runtime_log().display());
        }
    }

    fn wait(&self, signals: &SignalFd, judge: &OwnedFd) -> io::Result<Event> {
        let mut watched =
            vec![signals.as_fd(), judge.as_fd(), self.judge.socket.as_fd(), self.judge.pulse.as_fd()];
        watched.extend(self.jobs.iter().map(|job| job.ended.as_fd()));
        let mut watched: Vec<_> = watched.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        loop {
            match poll(&mut watched, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                result => result?,
            };
            let Some(ready) = watched.iter().position(|fd| fd.any().unwrap_or(true)) else { continue };
            return match ready {
                0 => match signals.read_signal()? {
                    Some(info) => Ok(Event::Signal(NixSignal::try_from(info.ssi_signo.cast_signed())?)),
                    None => continue,
                },
                1 => Ok(Event::JudgeEnded),
                2 => Ok(Event::Order),
                3 => Ok(Event::Pulse),
                job => Ok(Event::Job(job - 4)),
            };
        }
    }

    /// Obeys one order; `false` if the judge has said something that is none.
    fn order(&mut self) -> io::Result<bool> {
        let Some((bytes, descriptors)) = frames::receive_packet::<ORDER>(&self.judge.socket)? else {
            return Ok(false);
        };
        let Ok((id, verb)) = Verb::from_bytes(&bytes) else {
            tracing::error!("launcher: the judge sent something that is not one of the six verbs");
            return Ok(false);
        };
        match self.obey(id, verb, descriptors) {
            Ok(Done::Now(descriptors)) => self.answer(id, verb, Ok(()), &descriptors)?,
            Ok(Done::Later) => {}
            Err(code) => self.answer(id, verb, Err(code), &[])?,
        }
        Ok(true)
    }

    fn obey(&mut self, id: SandboxId, verb: Verb, descriptors: Vec<OwnedFd>) -> Result<Done, ErrorCode> {
        match verb {
            Verb::Mount { uid, bytes } => {
                let [workspace] =
                    <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| ErrorCode::WorkspaceMissing)?;
                let selinux = self.selinux.clone();
                let sandbox = self.sandbox(id)?;
                let label = selinux.map_or_else(String::new, |selinux| selinux.mount_option(sandbox.slot));
                let (layer, merged) = Layer::mount(&sandbox.folder, &workspace, uid, bytes, &label)?;
                sandbox.layer = Some(layer);
                (sandbox.person, sandbox.layered) = (Some(uid), true);
                sandbox.lies_on(rustix::fs::fstat(&workspace).map_err(internal)?.st_dev).map_err(internal)?;
                sandbox.lent.merged = Some(merged.try_clone().map_err(internal)?);
                Ok(Done::Now(vec![merged]))
            }
            Verb::Unmount => {
                self.unmount(id);
                Ok(Done::Now(Vec::new()))
            }
            Verb::Start { .. } => {
                let started = self.create(id, verb);
                if started.is_err() {
                    self.sandboxes.remove(&id);
                    self.store.forget(id);
                }
                started
            }
            Verb::Relay => self.relay(id).map(Done::Now),
            Verb::Signal { signal } if Saved::of_signal(signal).is_some() => self.save(id, verb, signal),
            Verb::Signal { signal } => {
                let signal = match i32::from(signal) {
                    libc::SIGKILL => Signal::KILL,
                    libc::SIGSTOP => Signal::STOP,
                    libc::SIGCONT => Signal::CONT,
                    _ => return Err(ErrorCode::Malformed),
                };
                self.known(id)?.signal(signal).map_err(|_| ErrorCode::SandboxGone)?;
                Ok(Done::Now(Vec::new()))
            }
            Verb::Remove => self.remove(id, verb),
        }
    }

    fn known(&mut self, id: SandboxId) -> Result<&mut Sandbox, ErrorCode> {
        self.sandboxes.get_mut(&id).ok_or(ErrorCode::UnknownSandbox)
    }

    /// The sandbox of that name, made if it is new.
    fn sandbox(&mut self, id: SandboxId) -> Result<&mut Sandbox, ErrorCode> {
        if !self.sandboxes.contains_key(&id) {
            let all = self.sandboxes.values().chain(self.going.values());
            // Categories that somebody else still has are not given to anybody new.
            let used: Vec<u32> = all.flat_map(|sandbox| [sandbox.slot, sandbox.domain]).collect();
            let slot =
                (0u32..).take(MOST).find(|slot| !used.contains(slot)).ok_or(ErrorCode::TooManySandboxes)?;
            let sandbox = Sandbox::new(&self.paths.run(), id, slot).map_err(internal)?;
            if let Some(selinux) = &self.selinux {
                selinux.claim(&sandbox.folder, slot).map_err(internal)?;
            }
            self.sandboxes.insert(id, sandbox);
        }
        self.known(id)
    }

    fn create(&mut self, id: SandboxId, verb: Verb) -> Result<Done, ErrorCode> {
        let Verb::Start { uid, gid, limits, workspace, tier, of, from, image, devices, strict_io, calls } =
            verb
        else {
            return Err(ErrorCode::Malformed);
        };
        let mut shared = match of {
            Some(of) => Some(self.known(of)?.share(uid)?),
            None => None,
        };
        let own = self.sandbox(id)?.layer.is_some();
        let others = shared.as_ref().is_some_and(|shared| shared.merged.is_some());
        let twice = own && shared.is_some() || from.is_some() && shared.is_none();
        if uid == 0 || gid == 0 || twice || workspace != (own || others) {
            return Err(ErrorCode::WorkspaceForbidden);
        }
        // What a session goes on with, or shares, is what it began on, whatever its profile says by now.
        if let Some(shared) = &shared
            && image_of(&shared.folder) != image
        {
            tracing::error!(
                "launcher: {}: its session runs on another image than its profile names",
                id.short()
            );
            return Err(ErrorCode::SandboxFailed);
        }
        let rootfs = match image {
            None => bundle::rootfs(&self.paths.run(), &self.programs, uid, gid).map_err(internal)?,
            Some(image) => {
                // Before it is looked for: whoever takes images away asks whether there is such a note.
                self.known(id)?.runs_on(image).map_err(internal)?;
                let of = |one: &Sandbox, folder: &Path| one.rootfs.as_deref() == Some(folder);
                let all = || self.sandboxes.values().chain(self.going.values());
                let in_use = |folder: &Path| all().any(|sandbox| of(sandbox, folder));
                let selinux = self.selinux.as_ref();
                image::rootfs(&self.paths, &self.programs, selinux, in_use, (uid, gid), image)?
            }
        };
        let nodes = &devices::all(devices.iter())?;
        let sandbox = self.sandboxes.get_mut(&id).ok_or(ErrorCode::UnknownSandbox)?;
        if *sandbox.person.get_or_insert(uid) != uid {
            return Err(ErrorCode::WorkspaceForbidden);
        }
        let on = shared.as_ref().map_or_else(|| sandbox.workspace_on(), |shared| shared.on);
        let disks = &disks_of(on, limits.io > 0, strict_io)?;
        sandbox.runs_in(tier).map_err(internal)?;
        let merged = match &shared {
            Some(shared) => {
                (sandbox.domain, sandbox.of) = (shared.domain, of);
                if let Some(selinux) = &self.selinux {
                    selinux.claim(&sandbox.folder, sandbox.domain).map_err(internal)?;
                }
                shared.merged.clone()
            }
            None => {
                let label = self.selinux.as_ref().map(|selinux| selinux.mount_option(sandbox.slot));
                saved::make_room(&sandbox.folder, limits.memory, &label.unwrap_or_default())
                    .map_err(internal)?;
                workspace.then(|| Layer::merged(&sandbox.folder))
            }
        };
        let state = shared.as_ref().zip(from).map(|(shared, from)| saved::place(&shared.folder, from));
        let (workspace, from) = (merged.as_deref(), state.as_deref());
        let bundle = Bundle {
            sandbox,
            rootfs: &rootfs,
            uid,
            gid,
            limits,
            workspace,
            from,
            disks,
            devices,
            nodes,
            calls,
        };
        let mut command = self.runtimes.of(tier)?.start(&bundle)?;
        if let Some(shared) = &mut shared {
            shared.seen_by(&mut command);
        }
        sandbox.rootfs = Some(rootfs.folder);
        let (stdin, to_sandbox) = io::pipe().map_err(internal)?;
        let (from_sandbox, stdout) = io::pipe().map_err(internal)?;
        // The sandbox inherits these; a pipe for its errors would keep whoever reads it waiting for ever.
        command.stdin(stdin).stdout(stdout);
        sandbox.channel = Some((to_sandbox.into(), from_sandbox.into()));
        self.spawn(command, id, verb, Step::Run)?;
        Ok(Done::Later)
    }

    /// The relay, under its own uid, holding the control socket and the sandbox's two pipes. The other end of the socket and
    /// a piece of memory that outlives the judge are the judge's.
    fn relay(&mut self, id: SandboxId) -> Result<Vec<OwnedFd>, ErrorCode> {
        let (program, selinux, store) = (self.programs.relay.clone(), self.selinux.clone(), self.store);
        let sandbox = self.known(id)?;
        let (to_sandbox, from_sandbox) = sandbox.channel.take().ok_or(ErrorCode::SandboxGone)?;
        let (ours, theirs) = packet_pair().map_err(internal)?;
        let uid = sandbox.relay_uid();
        let mut command = Command::new(program);
        command.env_clear().current_dir("/").uid(uid).gid(uid).stdin(Stdio::null()).stdout(Stdio::null());
        handover::hand_over(&mut command, vec![theirs, to_sandbox, from_sandbox]);
        sys::hear_everything(&mut command);
        if let Some(selinux) = selinux {
            selinux.relay(&mut command, sandbox.domain);
        }
        let relay = command.spawn().map_err(internal)?;
        drop(command);
        let pid = sandbox.relayed_by(&relay).map_err(internal)?;
        cgroups::take_in_relay(&sandbox.folder, pid).map_err(internal)?;
        let memory = memory().map_err(internal)?;
        if store.is_there() {
            let copies = ours.try_clone().and_then(|control| Ok((control, memory.try_clone()?)));
            let (control, memory) = copies.map_err(internal)?;
            (sandbox.lent.control, sandbox.lent.memory) = (Some(control), Some(memory));
        }
        sandbox.store(id, store).map_err(internal)?;
        Ok(vec![ours, memory])
    }

    /// Has the runtime save a sandbox's state, in the folder of the sandbox on whose layer it works.
    fn save(&mut self, id: SandboxId, verb: Verb, signal: u8) -> Result<Done, ErrorCode> {
        let place = Saved::of_signal(signal).ok_or(ErrorCode::Malformed)?;
        if self.jobs.iter().any(|job| job.sandbox == id) {
            return Err(ErrorCode::Busy);
        }
        let sandbox = self.known(id)?;
        let (tier, domain) = (sandbox.tier.ok_or(ErrorCode::SandboxGone)?, sandbox.domain);
        let owner = sandbox.of.unwrap_or(id);
        let mut shared = self.known(owner)?.shared()?;
        let folder = saved::place(&shared.folder, place);
        let mut command = self.runtimes.of(tier)?.save(&id.to_string(), domain, &folder)?;
        shared.seen_by(&mut command);
        sys::in_child(&mut command, move || saved::begin(&folder));
        self.spawn(command, id, verb, Step::Save)?;
        Ok(Done::Later)
    }

    fn remove(&mut self, id: SandboxId, verb: Verb) -> Result<Done, ErrorCode> {
        self.end(id)?;
        if self.jobs.iter().any(|job| job.sandbox == id) {
            // It is still being started; it goes when that step has ended, and only then is there all of it to delete.
            return Ok(Done::Later);
        }
        self.delete(id, verb)
    }

    fn delete(&mut self, id: SandboxId, verb: Verb) -> Result<Done, ErrorCode> {
        let sandbox = self.going.get(&id).ok_or(ErrorCode::UnknownSandbox)?;
        let (domain, tier, process) = (sandbox.domain, sandbox.tier, sandbox.process().map_err(internal)?);
        let Some(tier) = tier else { return Ok(self.forgotten(id)) };
        let forget = self.runtimes.of(tier).and_then(|runtime| runtime.forget(&id.to_string(), Some(domain)));
        let job = forget.and_then(|forget| match (forget, process) {
            (Some(command), _) => self.spawn(command, id, verb, Step::Delete).map(|()| Done::Later),
            (None, Some(ended)) => {
                self.jobs.push(Job { process: None, ended, sandbox: id, verb, step: Step::Delete });
                Ok(Done::Later)
            }
            (None, None) => Ok(self.forgotten(id)),
        });
        match job {
            Ok(done) => Ok(done),
            Err(code) => {
                self.going.remove(&id);
                Err(code)
            }
        }
    }

    fn spawn(
        &mut self,
        mut command: Command,
        sandbox: SandboxId,
        verb: Verb,
        step: Step,
    ) -> Result<(), ErrorCode> {
        let process = command.spawn().map_err(internal)?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or(ErrorCode::Internal)?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(internal)?;
        self.jobs.push(Job { process: Some(process), ended, sandbox, verb, step });
        Ok(())
    }

    fn job_ended(&mut self, index: usize) -> io::Result<()> {
        let Job { process, sandbox, verb, step, .. } = self.jobs.swap_remove(index);
        let status = process.map(|mut process| process.wait()).transpose()?.unwrap_or_default();
        if step != Step::Delete && self.going.contains_key(&sandbox) {
            return self.started_in_vain(sandbox);
        }
        match step {
            Step::Delete => {
                self.forgotten(sandbox);
                self.answer(sandbox, verb, Ok(()), &[])
            }
            Step::Save => {
                let result = if status.success() { Ok(()) } else { Err(ErrorCode::SandboxFailed) };
                self.answer(sandbox, verb, result, &[])
            }
            Step::Run if status.success() => {
                let watched = self.known(sandbox).and_then(|sandbox| sandbox.watch().map_err(internal));
                let watched = watched.map(|process| schedule::give_way(process.as_raw_nonzero().get()));
                let (id, store) = (sandbox, self.store);
                let stored = self.known(id).and_then(|sandbox| sandbox.store(id, store).map_err(internal));
                self.answer(id, verb, watched.and(stored), &[])
            }
            Step::Run => {
                let log = self.paths.runtime_log();
                tracing::error!("starting a sandbox: {status}; see {}", log.display());
                self.answer(sandbox, verb, Err(ErrorCode::SandboxFailed), &[])
            }
        }
    }

    /// There is nothing left of a sandbox but its folder, which goes with this.
    fn forgotten(&mut self, id: SandboxId) -> Done {
        if let Some(gone) = self.going.remove(&id) {
            cgroups::remove_relays(&gone.folder);
            cgroups::remove(&gone.folder);
        }
        Done::Now(Vec::new())
    }

    /// A sandbox whose removal was ordered while it was being started.
    fn started_in_vain(&mut self, id: SandboxId) -> io::Result<()> {
        if let Some(sandbox) = self.going.get_mut(&id) {
            // A start that failed has left no process to watch.
            let _ = sandbox.watch();
            sandbox.kill();
        }
        match self.delete(id, Verb::Remove) {
            Ok(Done::Later) => Ok(()),
            Ok(Done::Now(_)) => self.answer(id, Verb::Remove, Ok(()), &[]),
            Err(code) => self.answer(id, Verb::Remove, Err(code), &[]),
        }
    }

    fn answer(
        &self,
        id: SandboxId,
        verb: Verb,
        result: Result<(), ErrorCode>,
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        let answer = Answer::to(verb, id, result).to_bytes();
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        frames::send_packet(&self.judge.socket, &answer, &descriptors)
    }
}

/// The disks below what a sandbox reads, where reading is limited: those of its workspace and of `/usr`. What it writes is memory.
fn disks_of(workspace: Option<u64>, limited: bool, strict: bool) -> Result<Vec<Disk>, ErrorCode> {
    if !limited {
        return Ok(Vec::new());
    }
    let usr = fs::metadata("/usr").map_err(internal)?.dev();
    let mut disks = Vec::new();
    for device in workspace.into_iter().chain([usr]) {
        match disks::below(device) {
            Some(disk) => disks.push(disk),
            None if strict => {
                tracing::error!(
                    "launcher: io: a filesystem is on no disk that the kernel tells by its number"
                );
                return Err(ErrorCode::LimitsMissing);
            }
            None => tracing::warn!("launcher: io: a filesystem is on no disk that could be limited"),
        }
    }
    disks.sort_unstable();
    disks.dedup();
    Ok(disks)
}

/// Whether an order is already carried out.
enum Done {
    /// Yes, with descriptors for the judge or none.
    Now(Vec<OwnedFd>),
    /// When a job ends.
    Later,
}

/// Memory for what the judge remembers of a session: of one size, for good. Nothing of it is ever read here.
fn memory() -> io::Result<OwnedFd> {
    let memory = memfd_create("closedpaw-session", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memory, MEMORY)?;
    fcntl_add_seals(&memory, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}
