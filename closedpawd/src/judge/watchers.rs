//! Who hears of what: consoles of what concerns their user, an agent of its own questions and of a new policy.
#![forbid(unsafe_code)]

use super::sessions::Session;
use closedpaw_protocol::codec;
use closedpaw_protocol::message::{Event, Outgoing};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::mpsc;

/// Frames that wait to be written to one connection. A client that does not read loses the connection, not us.
pub(super) const QUEUE: usize = 256;

/// A frame with the descriptor that goes along.
pub(super) type Parcel = (Vec<u8>, Option<OwnedFd>);

struct Watcher {
    uid: u32,
    groups: Vec<u32>,
    console: bool,
    out: mpsc::Sender<Parcel>,
}

/// Every connection that can be told something.
#[derive(Default)]
pub(super) struct Watchers(RefCell<BTreeMap<u64, Watcher>>);

impl Watchers {
    /// Every connection is known from its beginning, so that an agent hears of its questions.
    pub(super) fn add(&self, connection: u64, uid: u32, groups: Vec<u32>, out: mpsc::Sender<Parcel>) {
        self.0.borrow_mut().insert(connection, Watcher { uid, groups, console: false, out });
    }

    /// From now on this connection hears what consoles hear.
    pub(super) fn watch(&self, connection: u64) {
        if let Some(watcher) = self.0.borrow_mut().get_mut(&connection) {
            watcher.console = true;
        }
    }

    pub(super) fn remove(&self, connection: u64) {
        self.0.borrow_mut().remove(&connection);
    }

    /// Tells the consoles of `uid`, and where it is the agent's business the session's agent.
    pub(super) fn tell(&self, event: &Event, uid: u32, session: Option<&Rc<Session>>) {
        let agent = session.and_then(|session| session.connection.get()).filter(|_| for_agents(event));
        self.send(event, |connection, watcher| {
            (watcher.console && watcher.uid == uid) || Some(connection) == agent
        });
    }

    /// Tells the consoles of everybody whom `concerned` names by uid and groups.
    pub(super) fn tell_consoles(&self, event: &Event, concerned: impl Fn(u32, &[u32]) -> bool) {
        self.send(event, |_, watcher| watcher.console && concerned(watcher.uid, &watcher.groups));
    }

    /// Tells every connection.
    pub(super) fn tell_all(&self, event: &Event) {
        self.send(event, |_, _| true);
    }

    fn send(&self, event: &Event, to: impl Fn(u64, &Watcher) -> bool) {
        let Some(frame) = codec::encode(&Outgoing::Event(event.clone())) else { return };
        for (connection, watcher) in self.0.borrow().iter() {
            if to(*connection, watcher) {
                // A full queue is a client that does not read; it misses events and can ask.
                drop(watcher.out.try_send((frame.clone(), None)));
            }
        }
    }
}

/// An agent is told how its questions ended and that it has to ask anew; never why something was denied.
fn for_agents(event: &Event) -> bool {
    match event {
        Event::Decided { .. }
        | Event::Policy { .. }
        | Event::Halted { .. }
        | Event::Closed { .. }
        | Event::Raised { .. } => true,
        Event::Asked(_) | Event::Denied { .. } | Event::Ended { .. } => false,
    }
}
