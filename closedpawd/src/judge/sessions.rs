//! Sessions: an agent key, a sandbox, a label.
#![forbid(unsafe_code)]

use super::pool::Pool;
use super::sandboxes::Sandbox;
use super::staged::Layer;
use crate::verbs::Saved;
use closedpaw_protocol::codec;
use closedpaw_protocol::kept::{Kept, KeptWork};
use closedpaw_protocol::sign::Verifier;
use closedpaw_protocol::{ErrorCode, KeyId, Label, SandboxId, SessionId, Source, SourceKind, Tier};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The most sessions of one user.
pub(super) const MOST: usize = 64;

/// One open session.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) agent: KeyId,
    pub(super) verifier: Verifier,
    pub(super) workspace: Option<String>,
    pub(super) trusted: bool,
    pub(super) profile: String,
    pub(super) isolation: Tier,
    pub(super) expires: u64,
    pub(super) sandbox: Rc<Sandbox>,
    /// The one that has taken its place, with the state that was saved.
    pub(super) restored: RefCell<Option<Rc<Sandbox>>>,
    /// Where that is, if any was saved.
    pub(super) saved: Cell<Option<Saved>>,
    /// Whether it is just being saved or restored; then no work begins.
    pub(super) saving: Cell<bool>,
    /// Where each command has a sandbox of its own: those.
    pub(super) pool: Option<Rc<Pool>>,
    /// The console's connection; the session ends with it. After a restart there is none until the console is back.
    pub(super) console: Cell<Option<u64>>,
    /// Until when a session without a console waits for it, in unix seconds.
    pub(super) waits: u64,
    /// When it ended, in unix seconds; its work may still be ending.
    pub(super) ended: Cell<Option<u64>>,
    /// After how much work its person wanted nothing of its layer.
    pub(super) unwanted: Cell<Option<u64>>,
    /// The one connection on which the agent key speaks, from its first word on.
    pub(super) connection: Cell<Option<u64>>,
    pub(super) label: RefCell<Label>,
    /// What runs, by its number.
    pub(super) works: RefCell<BTreeMap<u64, KeptWork>>,
}

impl Session {
    /// What anything in this sandbox can reach, and so must be taken to have read.
    pub(super) fn sources(&self) -> Label {
        self.workspace.as_ref().map_or_else(Label::default, |name| sources(name, self.trusted))
    }

    /// Leaves what a later judge has to know of this session.
    ///
    /// # Errors
    /// `busy` if it is too much.
    pub(super) fn remember(&self) -> Result<(), ErrorCode> {
        let kept = Kept {
            session: self.id,
            uid: self.uid,
            gid: self.gid,
            agent: self.agent,
            workspace: self.workspace.clone(),
            trusted: self.trusted,
            profile: self.profile.clone(),
            isolation: self.isolation,
            apart: self.pool.is_some(),
            expires: self.expires,
            since: self.sandbox.since,
            label: self.label.borrow().clone(),
            next: self.sandbox.next(),
            blank: self.sandbox.blank,
            saved: self.saved.get().map(Saved::signal),
            restored: self.restored.borrow().as_ref().map(|restored| restored.id),
            ended: self.ended.get(),
            works: self.works.borrow().iter().map(|(number, work)| (*number, work.clone())).collect(),
        };
        self.sandbox.remember(codec::encode(&kept).ok_or(ErrorCode::Busy)?)
    }

    /// Its own sandbox first, then what has taken its place, then those of single commands.
    pub(super) fn sandboxes(&self) -> Vec<Rc<Sandbox>> {
        let pool = self.pool.iter().flat_map(|pool| pool.all()).map(|(sandbox, _)| sandbox);
        let restored = self.restored.borrow().clone();
        [Rc::clone(&self.sandbox)].into_iter().chain(restored).chain(pool).collect()
    }

    /// The one that work runs in.
    pub(super) fn current(&self) -> Rc<Sandbox> {
        self.restored.borrow().as_ref().map_or_else(|| Rc::clone(&self.sandbox), Rc::clone)
    }

    /// Ends all of them.
    pub(super) fn kill(&self) {
        self.sandbox.kill();
        self.restored.borrow().iter().for_each(|restored| restored.kill());
        self.pool.iter().for_each(|pool| pool.end());
    }

    /// Its layer as it is, if it has one.
    pub(super) fn layer(&self) -> Option<Layer> {
        Some(Layer {
            session: self.id,
            sandbox: self.sandbox.id,
            uid: self.uid,
            workspace: self.workspace.clone()?,
            isolation: self.isolation,
            profile: self.profile.clone(),
            label: self.label.borrow().join(&self.sources()),
            generation: self.sandbox.next(),
            since: self.sandbox.since,
            ended: None,
            merged: Rc::clone(self.sandbox.merged.as_ref()?),
            memory: self.sandbox.memory(),
        })
    }
}

/// What whoever reaches a workspace must be taken to have read.
pub(super) fn sources(workspace: &str, trusted: bool) -> Label {
    let workspace = || Source { kind: SourceKind::Workspace, name: workspace.to_owned() };
    Label::new((!trusted).then(workspace), [workspace()])
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<SessionId, Rc<Session>>);

impl Sessions {
    pub(super) fn insert(&mut self, session: Rc<Session>) {
        self.0.insert(session.id, session);
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Rc<Session>> {
        self.0.remove(&id)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Rc<Session>> {
        self.0.get(&id).cloned()
    }

    pub(super) fn by_agent(&self, key: &KeyId) -> Option<Rc<Session>> {
        self.0.values().find(|session| session.agent == *key).cloned()
    }

    pub(super) fn by_sandbox(&self, id: SandboxId) -> Option<Rc<Session>> {
        let has = |session: &&Rc<Session>| session.sandboxes().iter().any(|sandbox| sandbox.id == id);
        self.0.values().find(has).cloned()
    }

    pub(super) fn of_user(&self, uid: u32) -> Vec<Rc<Session>> {
        self.0.values().filter(|session| session.uid == uid).cloned().collect()
    }

    /// The sessions for which it is over: their console was on this connection, or their time has come. An agent that
    /// went leaves its session to the console, which may still want to look at what it changed; nobody else can speak in it.
    pub(super) fn ending(&self, connection: Option<u64>, now: u64) -> Vec<SessionId> {
        let over = |session: &&Rc<Session>| match (connection, session.console.get()) {
            (Some(gone), console) => console == Some(gone),
            (None, None) => now >= session.expires.min(session.waits),
            (None, Some(_)) => now >= session.expires,
        };
        self.0.values().filter(over).map(|session| session.id).collect()
    }

    /// Every session.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Session>> {
        self.0.values()
    }
}
