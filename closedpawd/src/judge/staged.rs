//! Staged work: what a session wrote into its layer, kept when the session has ended.
//!
//! The layer is kept by the descriptor of its merged folder alone; nothing in it is ever read here. Its person's own
//! process gets that descriptor, compares, and carries over what policy and the person agree to.
#![forbid(unsafe_code)]

use super::clock;
use super::memory::Memory;
use super::sessions::{Session, sources};
use super::state::State;
use crate::verbs::Verb;
use closedpaw_ledger::record::{Entry, Fate, Outcome, Staged as Record};
use closedpaw_protocol::kept::Kept;
use closedpaw_protocol::message::StagedState;
use closedpaw_protocol::{ErrorCode, KeyId, Label, SandboxId, SessionId, Tier, codec};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// How many layers of one user are kept before no further session with a workspace is opened.
pub(super) const MOST: usize = 16;

/// The same for all users together: the service manager has room for as many.
const MOST_OF_ALL: usize = 512;

/// How long a layer is kept, in seconds.
const LONGEST: u64 = 7 * 24 * 3600;

/// How much of a list goes into one answer, in bytes; a frame has room for what one more may take.
const LISTED: usize = 32 * 1024;

/// A layer over a workspace.
pub(super) struct Layer {
    pub(super) session: SessionId,
    pub(super) sandbox: SandboxId,
    pub(super) uid: u32,
    pub(super) workspace: String,
    pub(super) isolation: Tier,
    pub(super) profile: String,
    /// What the session has read, its workspace included.
    pub(super) label: Label,
    /// How many pieces of work were granted in it.
    pub(super) generation: u64,
    pub(super) since: u64,
    /// None while the session is open.
    pub(super) ended: Option<u64>,
    pub(super) merged: Rc<OwnedFd>,
    /// None while the sandbox of an open session is being started: the layer is there before it.
    pub(super) memory: Option<Rc<Memory>>,
}

/// How many files the filesystem of a layer holds, by its own count.
pub(super) fn files(merged: &impl AsFd) -> Option<u64> {
    rustix::fs::fstatfs(merged).ok().map(|stat| stat.f_files.saturating_sub(stat.f_ffree))
}

impl Layer {
    /// The layer that is left of a session without a sandbox, as the judge before this one remembered it.
    fn left(sandbox: SandboxId, memory: Rc<Memory>, merged: Rc<OwnedFd>) -> Option<Self> {
        let kept: Kept = codec::decode(&memory.read()?).ok()?;
        let worked = !memory.is_discarded() && kept.next > 0;
        // Where its own filesystem holds no more files than at the beginning, nothing was written or removed.
        let differs = kept.blank.is_none() || kept.blank != files(&*merged);
        let workspace = kept.workspace?;
        let label = kept.label.join(&sources(&workspace, kept.trusted));
        (worked && differs).then_some(Self {
            session: kept.session,
            sandbox,
            uid: kept.uid,
            workspace,
            isolation: kept.isolation,
            profile: kept.profile,
            label,
            generation: kept.next,
            since: kept.since,
            ended: Some(kept.ended.unwrap_or_else(clock::seconds)),
            merged,
            memory: Some(memory),
        })
    }

    /// What its person is told of it.
    fn state(&self) -> StagedState {
        StagedState {
            session: self.session,
            workspace: self.workspace.clone(),
            isolation: self.isolation,
            profile: self.profile.clone(),
            label: self.label.clone(),
            generation: self.generation,
            since: self.since,
            ended: self.ended,
        }
    }

    fn over(&self, now: u64) -> bool {
        self.ended.is_some_and(|ended| now >= ended.saturating_add(LONGEST))
    }
}

/// The layers of sessions that have ended.
#[derive(Default)]
pub(super) struct Shelf(BTreeMap<SessionId, Rc<Layer>>);

impl Shelf {
    pub(super) fn get(&self, id: SessionId) -> Option<Rc<Layer>> {
        self.0.get(&id).cloned()
    }

    fn over(&self, now: u64) -> Vec<SessionId> {
        self.0.values().filter(|layer| layer.over(now)).map(|layer| layer.session).collect()
    }
}

/// A grant to carry work over, until its person's process has said what came of it.
pub(super) struct Applying {
    pub(super) session: SessionId,
    pub(super) uid: u32,
    pub(super) connection: u64,
    pub(super) since: u64,
}

impl Applying {
    /// How it ended: paths that were carried over and that were not, or nothing if nobody said.
    pub(super) fn outcome(&self, intent: u64, said: Option<(u32, u32)>) -> Outcome {
        let outcome = match said {
            None => "not reported".to_owned(),
            Some((applied, 0)) => format!("applied {applied}"),
            Some((applied, refused)) => format!("applied {applied}, refused {refused}"),
        };
        Outcome {
            session: self.session.0,
            uid: self.uid,
            intent,
            outcome,
            exit: None,
            signal: None,
            bytes_in: 0,
            bytes_out: 0,
            output: None,
            took_ms: clock::milliseconds().saturating_sub(self.since),
        }
    }
}

/// Where in a session's life its layer is let go.
impl State {
    /// Keeps what a session wrote, if it wrote anything; else lets its layer go with it.
    pub(super) fn stage(&self, session: &Session) {
        let wanted = session.unwanted.get() != Some(session.sandbox.next());
        let Some(merged) = session.sandbox.merged.as_ref().filter(|_| wanted) else {
            return session.sandbox.let_go(&self.launcher);
        };
        session.ended.set(Some(clock::seconds()));
        if let Err(code) = session.remember() {
            tracing::warn!("judge: session {}: {code}", session.id.short());
        }
        let memory = session.sandbox.memory();
        let layer = memory.and_then(|memory| Layer::left(session.sandbox.id, memory, Rc::clone(merged)));
        match layer {
            Some(layer) => self.keep(layer),
            None => session.sandbox.let_go(&self.launcher),
        }
    }

    /// Keeps what is left of a session that ended with an earlier judge; `false` if there is nothing to keep.
    pub(super) fn stage_left(&self, sandbox: SandboxId, memory: Rc<Memory>, merged: Rc<OwnedFd>) -> bool {
        let layer = Layer::left(sandbox, Rc::clone(&memory), merged);
        let layer = layer.filter(|layer| !layer.over(clock::seconds()));
        let kept = layer.is_some();
        if let Some(layer) = layer {
            let known = memory.read().and_then(|state| codec::decode::<Kept>(&state).ok());
            if let Some(kept) = known.filter(|kept| kept.ended.is_none()) {
                // When it ended nobody has written down, so that is now.
                let state = codec::encode(&Kept { ended: layer.ended, ..kept });
                drop(state.map(|state| memory.write(&state)));
                self.keep(layer);
            } else {
                self.shelf.borrow_mut().0.insert(layer.session, Rc::new(layer));
            }
        }
        kept
    }

    fn keep(&self, layer: Layer) {
        let record = Record { session: layer.session.0, uid: layer.uid, fate: Fate::Kept, key: None };
        self.audit.note(Record::KIND, record.fields());
        tracing::info!("judge: session {}: what it wrote is kept", layer.session.short());
        self.shelf.borrow_mut().0.insert(layer.session, Rc::new(layer));
    }

    /// Lets a kept layer go. Whoever else has it open still has it.
    pub(super) fn discard(self: &Rc<Self>, id: SessionId, fate: Fate, key: Option<KeyId>) {
        let Some(layer) = self.shelf.borrow_mut().0.remove(&id) else { return };
        if let Some(Err(error)) = layer.memory.as_ref().map(|memory| memory.discard()) {
            tracing::error!("judge: session {}: {error}", id.short());
        }
        let key = key.map(|key| key.to_string());
        let record = Record { session: id.0, uid: layer.uid, fate, key };
        self.audit.note(Record::KIND, record.fields());
        let (launcher, sandbox) = (Rc::clone(&self.launcher), layer.sandbox);
        tokio::task::spawn_local(async move { launcher.order(sandbox, Verb::Unmount, &[]).await });
    }

    /// Lets go of what was kept long enough.
    pub(super) fn discard_old(self: &Rc<Self>) {
        let over = self.shelf.borrow().over(clock::seconds());
        over.into_iter().for_each(|id| self.discard(id, Fate::Expired, None));
    }

    /// A layer of this user's, of an open session or a kept one.
    pub(super) fn layer(&self, uid: u32, id: SessionId) -> Result<Rc<Layer>, ErrorCode> {
        if let Some(session) = self.sessions.borrow().get(id).filter(|session| session.uid == uid) {
            return session.layer().map(Rc::new).ok_or(ErrorCode::WorkspaceMissing);
        }
        let kept = self.shelf.borrow().get(id).filter(|layer| layer.uid == uid);
        kept.ok_or(ErrorCode::UnknownSession)
    }

    /// This user's layers after one of them, as many as fit into an answer.
    pub(super) fn layers(&self, uid: u32, after: Option<SessionId>) -> Vec<StagedState> {
        let open = self.sessions.borrow().of_user(uid);
        let open = open.iter().filter_map(|session| session.layer()).map(|layer| layer.state());
        let shelf = self.shelf.borrow();
        let kept = shelf.0.values().filter(|layer| layer.uid == uid).map(|layer| layer.state());
        let mut all: Vec<_> = open.chain(kept).filter(|state| Some(state.session) > after).collect();
        all.sort_by_key(|state| state.session);
        let mut length = 0;
        let fitting = all.iter().take_while(|state| {
            let room = length <= LISTED;
            length += codec::encode(*state).map_or(LISTED, |bytes| bytes.len());
            room
        });
        let fitting = fitting.count();
        all.truncate(fitting);
        all
    }

    /// Whether one more session of this user may leave a layer behind.
    pub(super) fn room_for_layer(&self, uid: u32) -> Result<(), ErrorCode> {
        let shelf = self.shelf.borrow();
        let own = shelf.0.values().filter(|layer| layer.uid == uid).count();
        if own < MOST && shelf.0.len() < MOST_OF_ALL { Ok(()) } else { Err(ErrorCode::TooMuchStaged) }
    }

    /// Whoever was to say on this connection what came of a grant will not any more.
    pub(super) fn forsake(&self, connection: u64) {
        self.applying.borrow_mut().retain(|intent, applying| {
            let forsaken = applying.connection == connection;
            if forsaken {
                self.audit.note(Outcome::KIND, applying.outcome(*intent, None).fields());
            }
            !forsaken
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::KeyId;
    use std::fs::File;

    const NOW: u64 = 1_800_000_000;

    fn kept() -> Kept {
        Kept {
            session: SessionId([1; 16]),
            uid: 1000,
            gid: 1000,
            agent: KeyId([2; 32]),
            workspace: Some("/home/me/project".into()),
            trusted: false,
            profile: "default".into(),
            isolation: Tier::Gvisor,
            apart: false,
            expires: NOW + 100,
            since: NOW,
            label: Label::default(),
            next: 1,
            blank: None,
            saved: None,
            restored: None,
            ended: Some(NOW),
            works: vec![],
        }
    }

    fn left(change: impl FnOnce(&mut Kept), memory: impl FnOnce(&Memory)) -> Option<Layer> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(crate::verbs::MEMORY).unwrap();
        let kept_memory = Memory::new(file.into());
        let mut kept = kept();
        change(&mut kept);
        kept_memory.write(&codec::encode(&kept).unwrap()).unwrap();
        memory(&kept_memory);
        let folder = File::open("/").unwrap();
        Layer::left(SandboxId([3; 16]), Rc::new(kept_memory), Rc::new(folder.into()))
    }

    #[test]
    fn what_may_have_changed_is_kept_and_nothing_else() {
        let layer = left(|_| {}, |_| {}).unwrap();
        assert!(!layer.label.private().is_empty() && !layer.label.untrusted().is_empty());
        assert!(left(|kept| kept.next = 0, |_| {}).is_none(), "no work was done");
        assert!(left(|kept| kept.workspace = None, |_| {}).is_none());
        assert!(left(|_| {}, |memory| memory.end().unwrap()).is_some());
        assert!(left(|_| {}, |memory| memory.discard().unwrap()).is_none());
        let same = |kept: &mut Kept| kept.blank = files(&File::open("/proc").unwrap());
        assert!(left(same, |_| {}).is_some(), "another number of files");
    }

    #[test]
    fn a_layer_is_kept_for_seven_days() {
        let layer = left(|_| {}, |_| {}).unwrap();
        let days = |days: u64| NOW + days * 24 * 3600;
        assert!(!layer.over(days(7) - 1) && layer.over(days(7)));
    }
}
