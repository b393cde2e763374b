//! Last: carrying out what is recorded.
#![forbid(unsafe_code)]

use super::approved::Approved;
use super::authenticated::Speaker;
use super::authorised::{Authorised, Deed, room_for_session};
use super::clock;
use super::pipeline::Answer;
use super::policy::InForce;
use super::pool;
use super::recorded::Recorded;
use super::sandboxes::{Ended, Plan, Sandbox, Workspace};
use super::sessions::Session;
use super::staged::{Applying, Layer};
use super::state::State;
use closedpaw_ledger::record::{Entry, Opened, Outcome, Stop};
use closedpaw_protocol::kept::KeptWork;
use closedpaw_protocol::message::{Event, Opening, Reply};
use closedpaw_protocol::relay::{Grant, Record};
use closedpaw_protocol::sign::Verifier;
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Effect, ErrorCode, Label, Refusal, SandboxId, SessionId};
use closedpaw_rules::Commands;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Carries it out.
pub(super) async fn execute(recorded: Recorded, state: &Rc<State>) -> Result<Answer, Refusal> {
    let Recorded { approved, written } = recorded;
    let rule = approved.rule();
    let Approved { authorised, limits, .. } = approved;
    let Authorised { speaker, deed, action, digest, label, descriptors, policy, .. } = authorised;
    match deed {
        Deed::Open(opening) => open(opening, &speaker, descriptors, &policy, state).await,
        Deed::Work(session) => {
            let kept = KeptWork { intent: written.seq, since: clock::milliseconds(), apart: None };
            let work = Work { sandbox: session.current(), session, kept };
            let within = Bounds::of(limits, &work.session, &policy)?;
            let make = |number| Grant {
                work: number,
                action: digest,
                seconds: within.seconds,
                output: within.output,
                filtered: false,
            };
            work.carry_out(&action.effect, (rule, label), make, &descriptors, state).await
        }
        Deed::Apply(layer) => apply(&layer, &speaker, written.seq, rule, state),
        Deed::Kill(sandbox) => kill(sandbox, &speaker, state),
        Deed::Checkpoint(session) => session.checkpoint(state).await.map(|()| (Reply::Done, None)),
        Deed::Restore(session) => session.restore(state).await.map(|()| (Reply::Done, None)),
        Deed::Halt { on: true, all } => stop(all, &speaker, state).await,
        Deed::Halt { on: false, all } => start(all, &speaker, state),
        // These change nothing, so they are never recorded and do not come here.
        Deed::List | Deed::Log | Deed::Consistency(_) => Err(ErrorCode::Internal.into()),
    }
}

/// How long a stop waits for what it has ended to be gone.
const STOPPED: Duration = Duration::from_secs(10);

/// The most pieces of work at a time in one session, which is what a relay carries at a time.
const MOST_WORK: usize = 64;

/// Time and output of one piece of work: the rule's and the profile's, whichever is less.
struct Bounds {
    seconds: u32,
    output: u64,
}

impl Bounds {
    fn of(limits: closedpaw_rules::Limits, session: &Session, policy: &InForce) -> Result<Self, ErrorCode> {
        let profile = policy.profiles.get(&session.profile).ok_or(ErrorCode::UnknownProfile)?;
        let most = &profile.limits;
        Ok(Self {
            seconds: limits.seconds.map_or(most.seconds, |seconds| seconds.min(most.seconds)),
            output: limits.output.map_or(most.output, |output| output.min(most.output)),
        })
    }
}

pub(super) struct Work {
    pub(super) session: Rc<Session>,
    /// Where it runs: the session's own, or one that it has to itself.
    pub(super) sandbox: Rc<Sandbox>,
    pub(super) kept: KeptWork,
}

impl Work {
    async fn carry_out(
        mut self,
        effect: &Effect,
        (rule, label): (String, Label),
        make: impl FnOnce(u64) -> Grant,
        descriptors: &[OwnedFd],
        state: &Rc<State>,
    ) -> Result<Answer, Refusal> {
        if !matches!(
            effect,
            Effect::Exec { .. } | Effect::List { .. } | Effect::Read { .. } | Effect::Write { .. }
        ) {
            self.outcome(None, state).await;
            return Err(Refusal::because(ErrorCode::NotAvailable, effect.name()));
        }
        // The label rises with the grant: from here on the session has read what the action can reach.
        self.raise(&label, state);
        let number = self.session.sandbox.number();
        let granted = match self.placed(effect, state).and_then(|()| Ok(self.expected(number)?)) {
            Ok(()) => match self.filter(effect, state) {
                Ok(filter) => self.sandbox.grant(make(number), descriptors, filter).await,
                Err(code) => Err(code.into()),
            },
            Err(refusal) => Err(refusal),
        };
        match granted {
            Ok(ended) => {
                let reply = Reply::Running { work: number, rule, label };
                tokio::task::spawn_local(self.wait(number, ended, Rc::clone(state)));
                Ok((reply, None))
            }
            Err(refusal) => {
                self.outcome(None, state).await;
                self.forget(number, state);
                Err(refusal)
            }
        }
    }

    /// A command may have a sandbox to itself.
    fn placed(&mut self, effect: &Effect, state: &Rc<State>) -> Result<(), Refusal> {
        if matches!(effect, Effect::Exec { .. }) && self.session.pool.is_some() {
            self.sandbox = self.session.place(state)?;
            self.kept.apart = Some(self.sandbox.id);
        }
        Ok(())
    }

    /// The list of system calls that a command is left with, by the profile as it is now, to be read to its end.
    fn filter(&self, effect: &Effect, state: &State) -> Result<Option<OwnedFd>, ErrorCode> {
        if !matches!(effect, Effect::Exec { .. }) {
            return Ok(None);
        }
        let policy = state.policy();
        let profile = policy.profiles.get(&self.session.profile).ok_or(ErrorCode::UnknownProfile)?;
        let Some(list) = policy.list(profile) else { return Ok(None) };
        let (read, mut write) = io::pipe().map_err(|_| ErrorCode::Internal)?;
        // There is room in a pipe for the longest: nobody is waited for.
        write.write_all(list.filter.bytes()).map_err(|_| ErrorCode::Internal)?;
        Ok(Some(read.into()))
    }

    /// A judge that comes after this one knows of the work before the relay does.
    fn expected(&self, number: u64) -> Result<(), ErrorCode> {
        let mut works = self.session.works.borrow_mut();
        if works.len() >= MOST_WORK || self.session.saving.get() {
            return Err(ErrorCode::Busy);
        }
        works.insert(number, self.kept.clone());
        drop(works);
        self.session.remember()
    }

    fn forget(&self, number: u64, state: &State) {
        if let (Some(pool), Some(apart)) = (&self.session.pool, self.kept.apart) {
            pool.spent(apart, &state.launcher);
        }
        self.session.works.borrow_mut().remove(&number);
        // It is less than was kept before, and fits.
        let _ = self.session.remember();
    }

    fn raise(&self, label: &Label, state: &State) {
        let risen = self.session.label.borrow().join(label);
        if *self.session.label.borrow() != risen {
            self.session.label.replace(risen.clone());
            let event = Event::Raised { session: self.session.id, label: risen };
            state.watchers.tell(&event, self.session.uid, Some(&self.session));
        }
    }

    /// Waits for its end and writes it down.
    pub(super) async fn wait(self, work: u64, ended: oneshot::Receiver<Option<Ended>>, state: Rc<State>) {
        self.outcome(ended.await.ok().flatten(), &state).await;
        self.forget(work, &state);
        let event = Event::Ended { session: self.session.id, work };
        state.watchers.tell(&event, self.session.uid, None);
    }

    /// Writes how it ended, and comes back when that is on disk: until then it counts as running, for a later judge, too.
    async fn outcome(&self, ended: Option<Ended>, state: &State) {
        let (exit, input, output, digest) = match ended {
            Some(Record::Ended { exit, input, output, digest, .. }) => (exit, input, output, Some(digest.0)),
            Some(Record::Gate(_)) | None => (Exit::SandboxGone, 0, 0, None),
        };
        let (word, code, signal) = match exit {
            Exit::Status(code) => ("exited", Some(code.into()), None),
            Exit::Signal(signal) => ("signalled", None, Some(signal.into())),
            Exit::NotStarted(_) => ("not started", None, None),
            Exit::Timeout => ("time limit", None, None),
            Exit::OutputLimit => ("output limit", None, None),
            Exit::Mismatch => ("not what was granted", None, None),
            Exit::SandboxGone => ("sandbox gone", None, None),
            Exit::MemoryLimit => ("memory limit", None, None),
            Exit::ProcessLimit => ("process limit", None, None),
        };
        let outcome = Outcome {
            session: self.session.id.0,
            uid: self.session.uid,
            intent: self.kept.intent,
            outcome: word.to_owned(),
            exit: code,
            signal,
            bytes_in: input,
            bytes_out: output,
            output: digest,
            took_ms: clock::milliseconds().saturating_sub(self.kept.since),
        };
        if let Err(code) = state.audit.durable(outcome).await {
            tracing::error!("judge: the outcome of intent {}: {code:?}", self.kept.intent);
        }
    }
}

async fn open(
    opening: Opening,
    speaker: &Speaker,
    descriptors: Vec<OwnedFd>,
    policy: &InForce,
    state: &Rc<State>,
) -> Result<Answer, Refusal> {
    room_for_session(speaker.uid, state)?;
    let profile = policy.profiles.get(&opening.profile).ok_or(ErrorCode::UnknownProfile)?;
    let verifier = Verifier::new(&opening.agent).map_err(|_| ErrorCode::Malformed)?;
    let workspace = descriptors.into_iter().next();
    let (devices, strict_io) = pool::hardware(profile);
    let plan = Plan {
        uid: speaker.uid,
        gid: speaker.gid,
        isolation: opening.isolation,
        limits: pool::limits(profile),
        workspace: workspace
            .map_or(Workspace::None, |folder| Workspace::Folder(folder, profile.limits.layer)),
        from: None,
        devices,
        strict_io,
        calls: policy.calls(profile),
        image: profile.image.clone(),
    };
    let sandbox = Sandbox::start(&state.launcher, plan).await?;
    // Everything may have been stopped meanwhile, and this was not among it.
    if state.halts.hold(speaker.uid) {
        sandbox.let_go(&state.launcher);
        sandbox.kill();
        return Err(ErrorCode::Halted.into());
    }
    let session = Rc::new(Session {
        id: SessionId(super::random()?),
        uid: speaker.uid,
        gid: speaker.gid,
        agent: opening.agent,
        verifier,
        workspace: opening.workspace,
        trusted: opening.trusted,
        profile: opening.profile,
        isolation: opening.isolation,
        expires: opening.expires,
        sandbox,
        restored: RefCell::default(),
        saved: Cell::default(),
        saving: Cell::default(),
        pool: matches!(profile.commands, Commands::Apart { .. }).then(Rc::default),
        console: Cell::new(Some(speaker.connection)),
        waits: 0,
        ended: Cell::default(),
        unwanted: Cell::default(),
        connection: Cell::new(None),
        label: RefCell::new(opening.label),
        works: RefCell::default(),
    });
    session.remember()?;
    let opened = Opened {
        session: session.id.0,
        uid: session.uid,
        key: speaker.key.to_string(),
        workspace: session.workspace.clone().unwrap_or_default(),
        label: session.label.borrow().join(&session.sources()).to_string(),
        expires_ms: session.expires * 1000,
    };
    state.sessions.borrow_mut().insert(Rc::clone(&session));
    session.fill(state);
    state.audit.note(Opened::KIND, opened.fields());
    let here = crate::launcher::available_limits();
    let missing =
        crate::launcher::LIMITS.iter().filter(|limit| !here.contains(limit)).map(|limit| (*limit).to_owned());
    let reply = Reply::Opened {
        session: session.id,
        sandbox: session.sandbox.id,
        revision: policy.revision,
        label: session.label.borrow().join(&session.sources()),
        missing: missing.collect(),
    };
    Ok((reply, None))
}

/// Lets the person's own process carry work over. It has said already what; here begins the time in which it may.
fn apply(
    layer: &Layer,
    speaker: &Speaker,
    intent: u64,
    rule: String,
    state: &State,
) -> Result<Answer, Refusal> {
    let (session, uid, connection) = (layer.session, speaker.uid, speaker.connection);
    let applying = Applying { session, uid, connection, since: clock::milliseconds() };
    let mut all = state.applying.borrow_mut();
    if all.values().any(|other| other.connection == connection) {
        state.audit.note(Outcome::KIND, applying.outcome(intent, Some((0, 0))).fields());
        return Err(Refusal::because(ErrorCode::Busy, "what came of the last one was not said yet"));
    }
    let merged = layer.merged.try_clone().map_err(|_| ErrorCode::Internal)?;
    all.insert(intent, applying);
    Ok((Reply::Applying { intent, rule }, Some(merged)))
}

fn kill(id: SandboxId, speaker: &Speaker, state: &State) -> Result<Answer, Refusal> {
    let session = state.sessions.borrow().by_sandbox(id).filter(|session| session.uid == speaker.uid);
    let session = session.ok_or(ErrorCode::UnknownSandbox)?;
    match session.pool.as_ref().and_then(|pool| pool.get(id)) {
        // With it ends the command that has it to itself, and nothing else.
        Some(sandbox) => sandbox.kill(),
        None => state.close(session.id, "killed by its person"),
    }
    Ok((Reply::Done, None))
}

/// Ends all work, and has none begin; comes back when nothing runs any more.
async fn stop(all: bool, speaker: &Speaker, state: &State) -> Result<Answer, Refusal> {
    let kept = halt(true, all, speaker, state);
    let concerned = |session: &&Rc<Session>| all || session.uid == speaker.uid;
    let sessions: Vec<_> = state.sessions.borrow().all().filter(concerned).cloned().collect();
    sessions.iter().for_each(|session| state.close(session.id, "everything was stopped"));
    note(all, "everything", sessions.len() as u64, speaker, state);
    let gone = state.ended((!all).then_some(speaker.uid));
    if tokio::time::timeout(STOPPED, gone).await.is_err() {
        return Err(Refusal::because(
            ErrorCode::Busy,
            "nothing begins any more, but not everything has ended yet",
        ));
    }
    // Whoever asked learns that it would not hold over a restart; until then it does.
    kept?;
    Ok((Reply::Done, None))
}

/// Lets work begin again.
fn start(all: bool, speaker: &Speaker, state: &State) -> Result<Answer, Refusal> {
    let kept = halt(false, all, speaker, state);
    note(all, "nothing any more", 0, speaker, state);
    kept?;
    if state.halts.hold(speaker.uid) {
        let by = if all { "you stopped your own work, too" } else { "an admin stopped everybody's work" };
        return Err(Refusal::because(ErrorCode::Halted, by));
    }
    Ok((Reply::Done, None))
}

fn halt(on: bool, all: bool, speaker: &Speaker, state: &State) -> Result<(), ErrorCode> {
    let kept = state.halts.set(on, (!all).then_some(speaker.uid));
    let event = Event::Halted { on };
    match all {
        true => state.watchers.tell_all(&event),
        false => state.watchers.tell(&event, speaker.uid, None),
    }
    kept.map_err(|error| {
        tracing::error!("judge: the stop cannot be written down: {error}");
        ErrorCode::Internal
    })
}

fn note(all: bool, what: &str, ended: u64, speaker: &Speaker, state: &State) {
    let scope = if all { what.to_owned() } else { format!("{what} of uid {}", speaker.uid) };
    let stop = Stop { uid: speaker.uid, key: speaker.key.to_string(), scope, session: None, ended };
    state.audit.note(Stop::KIND, stop.fields());
}
