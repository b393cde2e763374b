//! Everything the judge holds. One thread, so plain cells.
#![forbid(unsafe_code)]

use super::audit::Audit;
use super::clock;
use super::halts::Halts;
use super::keys::Keys;
use super::launcher::Launcher;
use super::policy::InForce;
use super::pool::Pressure;
use super::questions::Questions;
use super::sandboxes::Sandbox;
use super::sessions::Sessions;
use super::staged::{Applying, Shelf};
use super::watchers::Watchers;
use crate::paths::Paths;
use closedpaw_ledger::aggregate::{Bounds, Refusals};
use closedpaw_ledger::record::{Closed, Entry, Kind};
use closedpaw_protocol::message::{Event, Question};
use closedpaw_protocol::{ErrorCode, SessionId, Tier};
use ed25519_dalek::SigningKey;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The judge's whole state.
pub(super) struct State {
    pub(super) paths: Paths,
    pub(super) key: SigningKey,
    pub(super) since: u64,
    pub(super) policy: RefCell<Rc<InForce>>,
    pub(super) policy_error: RefCell<Option<String>>,
    pub(super) keys: RefCell<Keys>,
    pub(super) sessions: RefCell<Sessions>,
    /// The sandboxes of sessions that are over, and whose they are, until nothing is left of them.
    ending: Rc<RefCell<Ending>>,
    /// What sessions that ended have left.
    pub(super) shelf: RefCell<Shelf>,
    /// Grants to carry it over, by the number of their intents.
    pub(super) applying: RefCell<BTreeMap<u64, Applying>>,
    pub(super) questions: RefCell<Questions>,
    pub(super) watchers: Watchers,
    pub(super) audit: Audit,
    pub(super) refusals: RefCell<Refusals>,
    pub(super) launcher: Rc<Launcher>,
    pub(super) halts: Halts,
    pub(super) pressure: Pressure,
    pub(super) connections: RefCell<BTreeMap<u32, usize>>,
    pub(super) last_connection: Cell<u64>,
    /// What the tiers besides gVisor run with here, or what they lack; as it was when the daemon started.
    pub(super) tiers: Tiers,
}

/// Sandboxes, each with the uid of its person.
type Ending = Vec<(u32, Rc<Sandbox>)>;

/// The tiers besides gVisor, and what there is of each.
pub(super) type Tiers = BTreeMap<Tier, Result<String, String>>;

impl State {
    pub(super) fn new(
        paths: Paths,
        key: SigningKey,
        policy: InForce,
        keys: Keys,
        audit: Audit,
        launcher: Rc<Launcher>,
        (tiers, pressure): (Tiers, Pressure),
    ) -> Rc<Self> {
        Rc::new(Self {
            key,
            since: clock::seconds(),
            policy: RefCell::new(Rc::new(policy)),
            policy_error: RefCell::default(),
            keys: RefCell::new(keys),
            sessions: RefCell::default(),
            ending: Rc::default(),
            shelf: RefCell::default(),
            applying: RefCell::default(),
            questions: RefCell::default(),
            watchers: Watchers::default(),
            audit,
            refusals: RefCell::new(Refusals::new(Bounds::default())),
            launcher,
            halts: Halts::load(&paths),
            pressure,
            connections: RefCell::default(),
            last_connection: Cell::new(0),
            tiers,
            paths,
        })
    }

    /// The policy in force right now.
    pub(super) fn policy(&self) -> Rc<InForce> {
        Rc::clone(&self.policy.borrow())
    }

    /// Notes a refusal. However many come, the log grows by a bounded number of records.
    pub(super) fn note_refusal(&self, uid: u32, code: ErrorCode) {
        let now = clock::milliseconds();
        self.flush_refusals();
        if let Some(fields) = self.refusals.borrow_mut().note(now, uid, code.number().into()) {
            self.audit.note(Kind::Refusals, fields);
        }
    }

    /// Writes what was counted, where a window has ended.
    pub(super) fn flush_refusals(&self) {
        for fields in self.refusals.borrow_mut().due(clock::milliseconds()) {
            self.audit.note(Kind::Refusals, fields);
        }
    }

    /// Ends a session, its sandbox and its questions. What it wrote is kept.
    pub(super) fn close(&self, id: SessionId, reason: &str) {
        let Some(session) = self.sessions.borrow_mut().remove(id) else { return };
        self.stage(&session);
        session.kill();
        for sandbox in session.sandboxes() {
            self.ending.borrow_mut().push((session.uid, Rc::clone(&sandbox)));
            let ending = Rc::clone(&self.ending);
            tokio::task::spawn_local(async move {
                sandbox.gone().await;
                ending.borrow_mut().retain(|(_, other)| other.id != sandbox.id);
            });
        }
        let forgotten = self.questions.borrow_mut().forget(Some(id));
        self.tell_undecided(forgotten);
        let closed = Closed { session: id.0, uid: session.uid, reason: reason.to_owned() };
        self.audit.note(Closed::KIND, closed.fields());
        self.watchers.tell(&Event::Closed { session: id }, session.uid, Some(&session));
    }

    /// Waits until nothing is left of the sandboxes of sessions that are over: a user's, or everybody's.
    pub(super) async fn ended(&self, of: Option<u32>) {
        let all = self.ending.borrow().clone();
        for (_, sandbox) in all.iter().filter(|(uid, _)| of.is_none_or(|of| of == *uid)) {
            sandbox.gone().await;
        }
    }

    /// Tells everybody concerned that questions lapsed without a yes.
    pub(super) fn tell_undecided(&self, questions: Vec<Question>) {
        for question in questions {
            let event = Event::Decided { id: question.id, granted: false };
            let session = self.sessions.borrow().get(question.action.session);
            self.watchers.tell(&event, question.uid, session.as_ref());
        }
    }
}
