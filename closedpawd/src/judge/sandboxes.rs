//! A session's sandbox: started when the session opens, ready when the start gate is passed.
#![forbid(unsafe_code)]

use super::clock;
use super::launcher::Launcher;
use super::memory::Memory;
use super::staged;
use crate::launcher::events;
use crate::verbs::{Limits, Saved, Verb};
use closedpaw_confine::list::CallSet;
use closedpaw_descriptors::Packets;
use closedpaw_protocol::image::Pinned;
use closedpaw_protocol::message::Stage;
use closedpaw_protocol::relay::{Gate, Grant, RECORD, Record};
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Devices, ErrorCode, Refusal, SandboxId, Tier};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How long a relay may take to end when there is nothing behind it any more; its client may not be listening.
const FINISHED: Duration = Duration::from_secs(5);

/// What a piece of work came to, as the relay recorded it.
pub(super) type Ended = Record;

/// Where a sandbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    Over(Refusal),
}

/// One sandbox.
pub(super) struct Sandbox {
    pub(super) id: SandboxId,
    pub(super) isolation: Tier,
    pub(super) since: u64,
    /// What the start gate found, as far as this judge has heard of it.
    pub(super) found: Cell<Option<u32>>,
    /// The workspace as the sandbox sees it. Never read here; handed to the person's own process.
    pub(super) merged: Option<Rc<OwnedFd>>,
    /// How many files there were in the layer at the beginning, by its filesystem's count.
    pub(super) blank: Option<u64>,
    phase: watch::Sender<Phase>,
    removed: watch::Sender<bool>,
    relay: OnceCell<Packets>,
    /// What outlives the judge, from the relay's start on, and what is to be written to it until then.
    memory: OnceCell<Rc<Memory>>,
    unwritten: RefCell<Option<Vec<u8>>>,
    works: RefCell<BTreeMap<u64, oneshot::Sender<Option<Ended>>>>,
    next: Cell<u64>,
    /// Whether its layer may go when it has gone, and what is remembered of it. From the beginning where it has none of its own.
    unwanted: Cell<bool>,
}

/// What a sandbox that comes back is made of.
pub(super) struct Again {
    pub(super) id: SandboxId,
    pub(super) control: OwnedFd,
    pub(super) memory: Rc<Memory>,
    pub(super) merged: Option<Rc<OwnedFd>>,
    pub(super) isolation: Tier,
    pub(super) since: u64,
    pub(super) blank: Option<u64>,
    pub(super) next: u64,
}

/// What a new sandbox is to be.
pub(super) struct Plan {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) isolation: Tier,
    pub(super) limits: Limits,
    pub(super) workspace: Workspace,
    /// What it goes on with, if it is no new one: of this sandbox what is saved there.
    pub(super) from: Option<(SandboxId, Saved)>,
    pub(super) devices: Devices,
    /// Whether every disk that it reads from has to be one that can be limited.
    pub(super) strict_io: bool,
    /// The system calls that its profile leaves to commands, where it has a list.
    pub(super) calls: Option<CallSet>,
    /// What it is to run on; nothing for the host's `/usr`.
    pub(super) image: Option<Pinned>,
}

/// What lies at `/workspace`.
pub(super) enum Workspace {
    /// Nothing.
    None,
    /// A layer of so many bytes over the folder that the person opened.
    Folder(OwnedFd, u64),
    /// The layer of another sandbox of theirs.
    Of(SandboxId),
}

impl Sandbox {
    /// Mounts the layer, which can be refused, and starts the rest in the background.
    pub(super) async fn start(launcher: &Rc<Launcher>, plan: Plan) -> Result<Rc<Self>, Refusal> {
        let id = SandboxId(super::random()?);
        let Workspace::Folder(folder, bytes) = &plan.workspace else {
            return Ok(Self::begun(id, launcher, plan, None));
        };
        let verb = Verb::Mount { uid: plan.uid, bytes: *bytes };
        match launcher.order(id, verb, &[folder.as_fd()]).await {
            Ok(descriptors) => Ok(Self::begun(id, launcher, plan, descriptors.into_iter().next())),
            Err(code) => {
                // Nothing may be there to remove.
                let _ = launcher.order(id, Verb::Remove, &[]).await;
                Err(code.into())
            }
        }
    }

    /// Starts one that has no layer of its own, in the background.
    pub(super) fn begin(launcher: &Rc<Launcher>, plan: Plan) -> Result<Rc<Self>, Refusal> {
        Ok(Self::begun(SandboxId(super::random()?), launcher, plan, None))
    }

    fn begun(id: SandboxId, launcher: &Rc<Launcher>, plan: Plan, merged: Option<OwnedFd>) -> Rc<Self> {
        let own_layer = merged.is_some();
        let sandbox = Rc::new(Self {
            id,
            isolation: plan.isolation,
            since: clock::seconds(),
            found: Cell::new(None),
            blank: merged.as_ref().and_then(staged::files),
            merged: merged.map(Rc::new),
            phase: watch::Sender::new(Phase::Starting),
            removed: watch::Sender::new(false),
            relay: OnceCell::new(),
            memory: OnceCell::new(),
            unwritten: RefCell::default(),
            works: RefCell::default(),
            next: Cell::new(0),
            unwanted: Cell::new(!own_layer),
        });
        tokio::task::spawn_local(Rc::clone(&sandbox).live(Rc::clone(launcher), plan));
        sandbox
    }

    /// One that an earlier judge has left, with the work that was running in it.
    pub(super) fn take_back(launcher: &Rc<Launcher>, again: Again) -> Result<Rc<Self>, ErrorCode> {
        let Again { id, control, memory, merged, isolation, since, blank, next } = again;
        let found = memory.found(wanted(isolation));
        let phase = if found.is_some() { Phase::Ready } else { Phase::Starting };
        let control = Packets::new(control).map_err(|_| ErrorCode::Internal)?;
        let sandbox = Rc::new(Self {
            id,
            isolation,
            since,
            found: Cell::new(found),
            unwanted: Cell::new(merged.is_none()),
            merged,
            blank,
            phase: watch::Sender::new(phase),
            removed: watch::Sender::new(false),
            relay: OnceCell::from(control),
            memory: OnceCell::from(memory),
            unwritten: RefCell::default(),
            works: RefCell::default(),
            next: Cell::new(next),
        });
        tokio::task::spawn_local(Rc::clone(&sandbox).live_on(Rc::clone(launcher)));
        Ok(sandbox)
    }

    /// Writes what a later judge has to know.
    ///
    /// # Errors
    /// `busy` if it does not fit: then a later judge would know less than this one, and nothing may be granted.
    pub(super) fn remember(&self, state: Vec<u8>) -> Result<(), ErrorCode> {
        let Some(memory) = self.memory.get() else {
            self.unwritten.replace(Some(state));
            return Ok(());
        };
        memory.write(&state).map_err(|error| {
            tracing::warn!("judge: sandbox {}: what runs in it cannot be kept: {error}", self.id.short());
            ErrorCode::Busy
        })
    }

    /// The whole life of a sandbox: start, gate, records, end.
    async fn live(self: Rc<Self>, launcher: Rc<Launcher>, plan: Plan) {
        let Plan { uid, gid, limits, workspace, isolation, from, image, devices, strict_io, calls } = plan;
        let (workspace, of) = match workspace {
            Workspace::None => (false, None),
            Workspace::Folder(..) => (true, None),
            Workspace::Of(sandbox) => (true, Some(sandbox)),
        };
        let of = of.or(from.map(|(of, _)| of));
        let from = from.map(|(_, saved)| saved);
        let (tier, digest) = (isolation, image.as_ref().map(|image| image.digest));
        let start = Verb::Start {
            uid,
            gid,
            limits,
            workspace,
            tier,
            of,
            from,
            image: digest,
            devices,
            strict_io,
            calls,
        };
        // The relay is started while the runtime is: the channel's pipes exist from the first moment.
        let started = launcher.order(self.id, start, &[]);
        let relayed = launcher.order(self.id, Verb::Relay, &[]);
        let served = async {
            let [control, memory] =
                <[OwnedFd; 2]>::try_from(relayed.await?).map_err(|_| ErrorCode::Internal)?;
            let control = Packets::new(control).map_err(|_| ErrorCode::Internal)?;
            let control = self.relay.get_or_init(|| control);
            self.memory.get_or_init(|| Rc::new(Memory::new(memory)));
            self.unwritten.take().map_or(Ok(()), |state| self.remember(state))?;
            if matches!(*self.phase.borrow(), Phase::Over(_)) {
                self.forget();
            }
            self.serve(control).await
        };
        let failed = async {
            match started.await {
                Ok(_) => std::future::pending().await,
                Err(code) => refusal(code, image.as_ref()),
            }
        };
        let over = tokio::select! {
            biased;
            refusal = failed => refusal,
            served = served => match served {
                Ok(refusal) => refusal,
                Err(code) => self.start_failure(code).await,
            },
            () = self.killed() => ErrorCode::SandboxGone.into(),
        };
        self.end(over, &launcher).await;
    }

    /// The rest of a life that began under another judge.
    async fn live_on(self: Rc<Self>, launcher: Rc<Launcher>) {
        let over = match self.relay.get() {
            Some(control) => tokio::select! {
                served = self.serve(control) => served.unwrap_or_else(Refusal::from),
                () = self.killed() => ErrorCode::SandboxGone.into(),
            },
            None => ErrorCode::SandboxGone.into(),
        };
        self.end(over, &launcher).await;
    }

    async fn end(&self, over: Refusal, launcher: &Launcher) {
        self.forget();
        self.phase.send_replace(Phase::Over(over));
        self.works.take().into_values().for_each(|tell| {
            // Who waited may have gone.
            let _ = tell.send(None);
        });
        // It is gone from here on, whatever the launcher finds left of it.
        let _ = launcher.order(self.id, Verb::Remove, &[]).await;
        self.removed.send_replace(true);
        if self.unwanted.get() {
            let _ = launcher.order(self.id, Verb::Unmount, &[]).await;
        }
    }

    /// Whether nothing of it is left, but for its layer.
    pub(super) fn is_gone(&self) -> bool {
        *self.removed.borrow()
    }

    /// Waits until nothing of it is left, but for its layer.
    pub(super) async fn gone(&self) {
        // The sender lives in `self`, so this ends only when it says so.
        let _ = self.removed.subscribe().wait_for(|removed| *removed).await;
    }

    /// Nobody wants what was written in it: the layer goes when the sandbox has gone.
    pub(super) fn let_go(&self, launcher: &Rc<Launcher>) {
        if let Some(Err(error)) = self.memory.get().map(|memory| memory.discard()) {
            tracing::error!("judge: sandbox {}: {error}", self.id.short());
        }
        self.unwanted.set(true);
        if self.is_gone() {
            let (launcher, id) = (Rc::clone(launcher), self.id);
            tokio::task::spawn_local(async move { launcher.order(id, Verb::Unmount, &[]).await });
        }
    }

    /// What outlives the judge, once there is such memory.
    pub(super) fn memory(&self) -> Option<Rc<Memory>> {
        self.memory.get().cloned()
    }

    /// A relay that could not start is most often a runtime that could not; its own code says more and comes first.
    async fn start_failure(&self, code: ErrorCode) -> Refusal {
        tokio::task::yield_now().await;
        match &*self.phase.borrow() {
            Phase::Over(refusal) => refusal.clone(),
            Phase::Starting | Phase::Ready => code.into(),
        }
    }

    /// Reads the relay's records until it ends; the first must be the gate's.
    async fn serve(&self, relay: &Packets) -> Result<Refusal, ErrorCode> {
        let mut reached = None;
        while let Ok(Some((bytes, _))) = relay.receive::<RECORD>().await {
            match Record::from_bytes(&bytes) {
                Ok(Record::Gate(gate)) => {
                    let lacking = gate.lacking(wanted(self.isolation));
                    if !lacking.is_empty() {
                        let detail = format!("found from inside to be missing: {}", lacking.join(", "));
                        return Ok(Refusal::because(ErrorCode::GateFailed, detail));
                    }
                    self.found.set(Some(gate.0));
                    if let Some(Err(error)) = self.memory.get().map(|memory| memory.passed_gate(gate)) {
                        tracing::warn!("judge: sandbox {}: {error}", self.id.short());
                    }
                    self.phase.send_if_modified(|phase| {
                        let starting = *phase == Phase::Starting;
                        if starting {
                            *phase = Phase::Ready;
                        }
                        starting
                    });
                }
                Ok(record @ Record::Ended { work, exit, .. }) => {
                    reached = limit(exit);
                    if let Some(tell) = self.works.borrow_mut().remove(&work) {
                        let _ = tell.send(Some(record));
                    }
                }
                Err(_) => break,
            }
        }
        let ready = *self.phase.borrow() == Phase::Ready;
        Ok(match (ready, reached) {
            (true, Some(limit)) => Refusal::because(ErrorCode::SandboxGone, limit),
            (true, None) => ErrorCode::SandboxGone.into(),
            (false, _) => ErrorCode::SandboxFailed.into(),
        })
    }

    async fn killed(&self) {
        // The sender lives in `self`, so this ends only when the phase says so.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Over(_))).await;
    }

    /// Waits until work can be given to it.
    pub(super) async fn ready(&self) -> Result<(), Refusal> {
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| *phase != Phase::Starting).await;
        match settled.as_deref() {
            Ok(Phase::Ready) => Ok(()),
            Ok(Phase::Over(refusal)) => Err(refusal.clone()),
            Ok(Phase::Starting) | Err(_) => Err(ErrorCode::SandboxGone.into()),
        }
    }

    /// The number of the next piece of work, which is spent by being asked for.
    pub(super) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// The number that the next piece of work will have.
    pub(super) fn next(&self) -> u64 {
        self.next.get()
    }

    /// Gives the relay a piece of work with its descriptors; its end comes on the receiver.
    pub(super) async fn grant(
        &self,
        grant: Grant,
        descriptors: &[OwnedFd],
        filter: Option<OwnedFd>,
    ) -> Result<oneshot::Receiver<Option<Ended>>, Refusal> {
        self.ready().await?;
        let grant = Grant { filtered: filter.is_some(), ..grant };
        let (stream, others) = descriptors.split_at(descriptors.len().min(1));
        let relay = self.relay.get().ok_or(ErrorCode::SandboxGone)?;
        let ended = self.expect(grant.work);
        // By these the relay tells what the kernel has ended for a limit.
        let events = events(self.id);
        let given = stream.iter().chain(&filter).chain(others).map(AsFd::as_fd);
        let descriptors: Vec<_> = given.chain(events.iter().map(AsFd::as_fd)).collect();
        if relay.send(&grant.to_bytes(), &descriptors).await.is_err() {
            self.works.borrow_mut().remove(&grant.work);
            return Err(ErrorCode::SandboxGone.into());
        }
        Ok(ended)
    }

    /// The end of a piece of work that the relay has or is about to get.
    pub(super) fn expect(&self, work: u64) -> oneshot::Receiver<Option<Ended>> {
        let (tell, ended) = oneshot::channel();
        self.works.borrow_mut().insert(work, tell);
        ended
    }

    /// No later judge takes it up, whatever happens to this one before the launcher has ended it.
    fn forget(&self) {
        if let Some(Err(error)) = self.memory.get().map(|memory| memory.end()) {
            tracing::error!("judge: sandbox {}: {error}", self.id.short());
        }
    }

    /// Ends it; the launcher does the rest in the background.
    pub(super) fn kill(&self) {
        self.forget();
        self.phase.send_if_modified(|phase| {
            let living = !matches!(phase, Phase::Over(_));
            if living {
                *phase = Phase::Over(ErrorCode::SandboxGone.into());
            }
            living
        });
    }

    /// Has its state saved. It goes on, whatever comes of it.
    pub(super) async fn save(&self, place: Saved, launcher: &Launcher) -> Result<(), Refusal> {
        let verb = Verb::Signal { signal: place.signal() };
        tokio::select! {
            saved = launcher.order(self.id, verb, &[]) => Ok(saved.map(drop)?),
            () = self.killed() => Err(ErrorCode::SandboxGone.into()),
        }
    }

    /// Ends all that runs in it, and waits for its relay to end: it does when it has told its client how the work ended.
    pub(super) async fn finish(&self, launcher: &Launcher) {
        self.forget();
        let Ok(signal) = u8::try_from(libc::SIGKILL) else { return self.kill() };
        let ended = async {
            // It may have ended by itself.
            let _ = launcher.order(self.id, Verb::Signal { signal }, &[]).await;
            self.gone().await;
        };
        if tokio::time::timeout(FINISHED, ended).await.is_err() {
            self.kill();
        }
    }

    /// Stops all that runs in it, for good.
    pub(super) async fn hold(&self, launcher: &Launcher) -> Result<(), ErrorCode> {
        let signal = u8::try_from(libc::SIGSTOP).map_err(|_| ErrorCode::Internal)?;
        launcher.order(self.id, Verb::Signal { signal }, &[]).await.map(drop)
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Over(_))
    }

    pub(super) fn stage(&self) -> Stage {
        match *self.phase.borrow() {
            Phase::Starting => Stage::Starting,
            Phase::Ready => Stage::Ready,
            Phase::Over(_) => Stage::Ended,
        }
    }

    /// Pieces of work running in it.
    pub(super) fn running(&self) -> usize {
        self.works.borrow().len()
    }
}

/// The limit for which a sandbox has ended with its last work, if it was one.
fn limit(exit: Exit) -> Option<&'static str> {
    match exit {
        Exit::MemoryLimit => Some("it reached its memory limit"),
        Exit::ProcessLimit => Some("it reached its limit of processes"),
        Exit::Status(_)
        | Exit::Signal(_)
        | Exit::NotStarted(_)
        | Exit::Timeout
        | Exit::OutputLimit
        | Exit::Mismatch
        | Exit::SandboxGone => None,
    }
}

/// Why it did not start; for an image that is missing, which.
fn refusal(code: ErrorCode, image: Option<&Pinned>) -> Refusal {
    match image {
        Some(image) if code == ErrorCode::ImageMissing => Refusal::because(code, image.to_string()),
        Some(_) | None => code.into(),
    }
}

/// What the start gate must find for a tier.
fn wanted(tier: Tier) -> u32 {
    match tier {
        // Its kernel has no Landlock.
        Tier::Gvisor => Gate::all() & !Gate::LANDLOCK,
        Tier::Kata | Tier::Process => Gate::all() & !Gate::GVISOR,
    }
}
