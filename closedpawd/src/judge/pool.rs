//! Clean sandboxes of a session whose commands have one each: a few wait, each serves one command, none a second one.
//!
//! They work on the layer of the session's own sandbox, so what a command writes the next one finds; processes, memory and
//! `/tmp` it does not.
#![forbid(unsafe_code)]

use super::clock;
use super::launcher::Launcher;
use super::sandboxes::{Plan, Sandbox, Workspace};
use super::sessions::Session;
use super::state::State;
use crate::verbs::Limits;
use closedpaw_protocol::{Devices, ErrorCode, Refusal, SandboxId};
use closedpaw_rules::{Commands, Profile, Resource};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Duration;

/// The most commands at a time that have a sandbox each, in one session.
pub(super) const MOST: usize = 16;

/// How long a clean sandbox waits, in seconds. After that the next command brings new ones.
const WAITS: u64 = 600;

/// How long after a command was granted its place in the pool is filled, so that the one does not slow the other.
const LATER: Duration = Duration::from_millis(100);

/// The sandboxes of one session besides its own.
#[derive(Default)]
pub(super) struct Pool {
    clean: RefCell<Vec<Rc<Sandbox>>>,
    /// Those that a command has to itself, and those that are ending.
    used: RefCell<BTreeMap<SandboxId, Rc<Sandbox>>>,
    /// Whether it is over: then none is started any more.
    over: Cell<bool>,
}

impl Pool {
    /// All that there are, with whether each is clean.
    pub(super) fn all(&self) -> Vec<(Rc<Sandbox>, bool)> {
        let clean = self.clean.borrow();
        let used = self.used.borrow();
        let clean = clean.iter().map(|sandbox| (Rc::clone(sandbox), true));
        clean.chain(used.values().map(|sandbox| (Rc::clone(sandbox), false))).collect()
    }

    /// The one of that name.
    pub(super) fn get(&self, id: SandboxId) -> Option<Rc<Sandbox>> {
        self.all().into_iter().map(|(sandbox, _)| sandbox).find(|sandbox| sandbox.id == id)
    }

    /// One that an earlier judge has given a command.
    pub(super) fn take_back(&self, sandbox: Rc<Sandbox>) {
        self.used.borrow_mut().insert(sandbox.id, sandbox);
    }

    /// Ends them all.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.all().iter().for_each(|(sandbox, _)| sandbox.kill());
    }

    /// Ends the one of a command that has ended. There is nothing in it that anybody may have, but how it ended: of that its
    /// relay tells the client, and then ends.
    pub(super) fn spent(self: &Rc<Self>, id: SandboxId, launcher: &Rc<Launcher>) {
        let Some(sandbox) = self.used.borrow().get(&id).cloned() else { return };
        let (pool, launcher) = (Rc::clone(self), Rc::clone(launcher));
        tokio::task::spawn_local(async move {
            sandbox.finish(&launcher).await;
            sandbox.gone().await;
            pool.used.borrow_mut().remove(&sandbox.id);
        });
    }

    /// Whoever waits for all to be gone waits for this one as well.
    fn end_one(self: &Rc<Self>, sandbox: Rc<Sandbox>) {
        sandbox.kill();
        self.used.borrow_mut().insert(sandbox.id, Rc::clone(&sandbox));
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            sandbox.gone().await;
            pool.used.borrow_mut().remove(&sandbox.id);
        });
    }

    /// Those that run a command.
    fn busy(&self) -> usize {
        self.used.borrow().values().filter(|sandbox| !sandbox.is_over()).count()
    }

    /// A clean one that is ready, or the one that has been starting longest.
    fn take_clean(&self) -> Option<Rc<Sandbox>> {
        let mut clean = self.clean.borrow_mut();
        clean.retain(|sandbox| !sandbox.is_over());
        let ready = clean.iter().position(|sandbox| sandbox.is_ready());
        (!clean.is_empty()).then(|| clean.remove(ready.unwrap_or(0)))
    }

    /// Ends those that have waited long enough, and those that are too many.
    fn shrink(self: &Rc<Self>, most: usize, now: u64) {
        let over = |sandbox: &Rc<Sandbox>| sandbox.is_over() || now >= sandbox.since.saturating_add(WAITS);
        let mut clean = self.clean.borrow_mut();
        let (mut going, mut staying): (Vec<_>, Vec<_>) = clean.drain(..).partition(over);
        going.extend(staying.drain(..staying.len().saturating_sub(most)));
        *clean = staying;
        drop(clean);
        going.into_iter().for_each(|sandbox| self.end_one(sandbox));
    }
}

impl Session {
    /// Where a command runs: in the session's own sandbox, or in a clean one that it does not share.
    pub(super) fn place(self: &Rc<Self>, state: &Rc<State>) -> Result<Rc<Sandbox>, Refusal> {
        let Some(pool) = &self.pool else { return Ok(self.current()) };
        if pool.busy() >= MOST {
            let detail = format!("{MOST} commands are running, each in a sandbox of its own");
            return Err(Refusal::because(ErrorCode::Busy, detail));
        }
        let sandbox = match pool.take_clean() {
            Some(sandbox) => sandbox,
            None => self.another(state)?,
        };
        pool.used.borrow_mut().insert(sandbox.id, Rc::clone(&sandbox));
        let (session, state) = (Rc::clone(self), Rc::clone(state));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LATER).await;
            session.fill(&state);
        });
        Ok(sandbox)
    }

    /// Starts as many as are to wait.
    pub(super) fn fill(&self, state: &State) {
        let Some(pool) = &self.pool else { return };
        let most = self.profile(state).map_or(0, |profile| wanted(&profile, state));
        pool.shrink(most, clock::seconds());
        while !pool.over.get() && pool.clean.borrow().len() < most {
            match self.another(state) {
                Ok(sandbox) => pool.clean.borrow_mut().push(sandbox),
                Err(refusal) => {
                    tracing::warn!("judge: session {}: a clean sandbox: {}", self.id.short(), refusal.code);
                    return;
                }
            }
        }
    }

    /// Lets go of what nobody has wanted for long, or the host has no room for.
    pub(super) fn thin(&self, state: &State) {
        if let Some(pool) = &self.pool {
            let most = self.profile(state).map_or(0, |profile| wanted(&profile, state));
            pool.shrink(most, clock::seconds());
        }
    }

    fn profile(&self, state: &State) -> Option<Profile> {
        state.policy().profiles.get(&self.profile).cloned()
    }

    /// Starts another sandbox, on the layer of the session's own.
    fn another(&self, state: &State) -> Result<Rc<Sandbox>, Refusal> {
        let profile = self.profile(state).ok_or(ErrorCode::UnknownProfile)?;
        let calls = state.policy().calls(&profile);
        let workspace = match self.workspace {
            Some(_) => Workspace::Of(self.sandbox.id),
            None => Workspace::None,
        };
        let (uid, gid, isolation) = (self.uid, self.gid, self.isolation);
        let (devices, strict_io) = hardware(&profile);
        let (limits, image) = (limits(&profile), profile.image);
        let from = None;
        let plan = Plan { uid, gid, isolation, limits, workspace, from, image, devices, strict_io, calls };
        Sandbox::begin(&state.launcher, plan)
    }
}

/// How many are to wait in a session with this profile: as many as it says, fewer where memory is short.
fn wanted(profile: &Profile, state: &State) -> usize {
    match profile.commands {
        Commands::Together => 0,
        Commands::Apart { pool } => bearable(pool as usize, state.pressure.now()),
    }
}

/// The devices that a profile names, and whether it starts nowhere where a disk cannot be limited.
pub(super) fn hardware(profile: &Profile) -> (Devices, bool) {
    (profile.devices.iter().copied().collect(), profile.require.contains(&Resource::Io))
}

/// The launcher's form of a profile's limits.
pub(super) fn limits(profile: &Profile) -> Limits {
    let limits = &profile.limits;
    Limits {
        memory: limits.memory,
        pids: limits.pids,
        // Policy counts in hundredths of a processor.
        cpu: limits.cpu.saturating_mul(10),
        tmp: limits.tmp,
        files: limits.files,
        io: limits.io,
    }
}

/// How many clean sandboxes a host bears on which something waited for memory for so much of the last ten seconds, in
/// hundredths of a percent: above one percent one at most, above ten none.
fn bearable(wanted: usize, stalled: u32) -> usize {
    match stalled {
        0..=100 => wanted,
        101..=1000 => wanted.min(1),
        _ => 0,
    }
}

/// What the kernel says of memory: for how much of the time something waited for it (PSI).
pub(super) struct Pressure(Option<File>);

impl Pressure {
    /// Opens it, before nothing can be opened any more. A kernel without it has no pressure to speak of.
    pub(super) fn find() -> Self {
        Self(File::open("/proc/pressure/memory").ok())
    }

    /// The share of the last ten seconds, in hundredths of a percent.
    fn now(&self) -> u32 {
        let mut text = [0; 256];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = text.get(..read).and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(some_avg10).unwrap_or(0)
    }
}

/// `some avg10=1.53 avg60=…` (Documentation/accounting/psi.rst), in hundredths.
fn some_avg10(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let (whole, part) = line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.split_once('.')?;
    let [tens, ones] = part.as_bytes() else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    Some(whole.parse::<u32>().ok()?.saturating_mul(100).saturating_add(digit(tens)? * 10 + digit(ones)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the kernel's own page (Documentation/accounting/psi.rst) and what a quiet host says.
    #[test]
    fn the_kernels_line_is_read() {
        let page = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(page), Some(0));
        let busy = "some avg10=12.05 avg60=1.00 avg300=0.20 total=77\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(busy), Some(1205));
        for none in
            ["", "full avg10=1.00", "some avg60=1.00", "some avg10=1", "some avg10=1.5", "some avg10=-1.00"]
        {
            assert_eq!(some_avg10(none), None, "{none}");
        }
    }

    #[test]
    fn the_less_memory_the_fewer_wait() {
        let sizes = [0, 100, 101, 1000, 1001, 9999].map(|stalled| bearable(3, stalled));
        assert_eq!(sizes, [3, 3, 1, 1, 0, 0]);
        assert_eq!(bearable(0, 0), 0);
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_says_is_read_or_not(text in "(some )?(avg10=)?[0-9]{0,12}.?[0-9]{0,3}( .*)?\n?") {
            let _ = some_avg10(&text);
        }

        #[test]
        fn hundredths_are_hundredths(whole in 0u32..=100, part in 0u32..100) {
            let text = format!("some avg10={whole}.{part:02} avg60=0.00 avg300=0.00 total=0\n");
            prop_assert_eq!(some_avg10(&text), Some(whole * 100 + part));
        }
    }
}
