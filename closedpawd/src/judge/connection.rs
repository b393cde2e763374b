//! One connection: the two first frames, then statements in order.
#![forbid(unsafe_code)]

use super::pipeline;
use super::state::State;
use super::watchers::{Parcel, QUEUE};
use closedpaw_descriptors::frames::{self, FrameReader, FrameWriter};
use closedpaw_descriptors::{Frame, Peer};
use closedpaw_protocol::message::{Hello, Outgoing, Signed, Welcome};
use closedpaw_protocol::sign::{self, Context};
use closedpaw_protocol::{Challenge, ErrorCode, Refusal, VERSION, codec};
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a client has for its first frame.
const HELLO: Duration = Duration::from_secs(5);

/// How long a client has to take the last replies.
const FAREWELL: Duration = Duration::from_secs(1);

/// The most connections of one user.
const MOST: usize = 64;

/// A connection after its first frames.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: Peer,
    pub(super) challenge: Challenge,
    /// The number that the next statement must have.
    pub(super) sequence: Cell<u64>,
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(socket: OwnedFd, state: Rc<State>) {
    let Ok(peer) = Peer::of(&socket) else { return };
    let uid = peer.uid;
    let Some(_place) = Place::take(&state, uid) else {
        return state.note_refusal(uid, ErrorCode::TooManySessions);
    };
    let Ok((mut reader, writer)) = frames::split(socket) else { return };
    let Ok(Some(challenge)) = tokio::time::timeout(HELLO, welcome(&mut reader, &writer, &state)).await else {
        return state.note_refusal(uid, ErrorCode::Malformed);
    };
    let id = state.last_connection.replace(state.last_connection.get() + 1);
    let connection = Connection { id, peer, challenge, sequence: Cell::new(0) };
    let (out, queue) = mpsc::channel(QUEUE);
    state.watchers.add(id, uid, connection.peer.all_groups(), out.clone());
    let mut writing = std::pin::pin!(write(&writer, queue));
    let read_to_its_end = tokio::select! {
        () = read(&mut reader, &connection, &state, &out) => true,
        () = &mut writing => false,
    };
    state.watchers.remove(id);
    let ending = state.sessions.borrow().ending(Some(id), 0);
    ending.into_iter().for_each(|session| state.close(session, "its client has gone"));
    state.forsake(id);
    drop(out);
    if read_to_its_end {
        // The last reply says why; a client that does not take it is not waited for.
        drop(tokio::time::timeout(FAREWELL, writing).await);
    }
}

/// A user's share of the connections.
struct Place {
    state: Rc<State>,
    uid: u32,
}

impl Place {
    fn take(state: &Rc<State>, uid: u32) -> Option<Self> {
        let mut connections = state.connections.borrow_mut();
        let count = connections.entry(uid).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Self { state: Rc::clone(state), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.state.connections.borrow_mut();
        if let Some(count) = connections.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

/// Reads the client's first frame and answers its challenge.
async fn welcome(reader: &mut FrameReader, writer: &FrameWriter, state: &State) -> Option<Challenge> {
    let hello: Hello = codec::decode(&reader.read().await.ok()??.body).ok()?;
    let challenge = Challenge(super::random().ok()?);
    let proof = sign::sign(&state.key, Context::Daemon, &hello.challenge, 0, &challenge.0);
    let welcome = Welcome { version: VERSION, challenge, key: sign::key_id(&state.key), proof };
    writer.write(&codec::encode(&welcome)?, &[]).await.ok()?;
    // A client of another version is told ours and goes.
    (hello.version == VERSION).then_some(challenge)
}

async fn write(writer: &FrameWriter, mut queue: mpsc::Receiver<Parcel>) {
    while let Some((frame, descriptor)) = queue.recv().await {
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        if writer.write(&frame, &descriptors).await.is_err() {
            return;
        }
    }
}

/// Answers statements one after the other, until one ends the connection.
async fn read(
    reader: &mut FrameReader,
    connection: &Connection,
    state: &Rc<State>,
    out: &mpsc::Sender<Parcel>,
) {
    while let Ok(Some(Frame { body, descriptors })) = reader.read().await {
        let Ok(signed) = codec::decode::<Signed>(&body) else {
            return state.note_refusal(connection.peer.uid, ErrorCode::Malformed);
        };
        let sequence = signed.sequence;
        let result = pipeline::handle(signed, descriptors, connection, state).await;
        let (result, descriptor, head) = match result {
            Ok(((reply, descriptor), head)) => (Ok(reply), descriptor, head),
            Err(refusal) => (Err(refusal), None, None),
        };
        let over = result.as_ref().err().is_some_and(ends_the_connection);
        if let Err(refusal) = &result {
            state.note_refusal(connection.peer.uid, refusal.code);
        }
        let head = head.unwrap_or_else(|| state.audit.head());
        let reply = Outgoing::Reply { sequence, head, result };
        let frame = codec::encode(&reply).or_else(|| too_large(sequence, state));
        let Some(frame) = frame else { return };
        if out.send((frame, descriptor)).await.is_err() || over {
            return;
        }
    }
}

/// A reply that does not fit a frame is a refusal that says so.
fn too_large(sequence: u64, state: &State) -> Option<Vec<u8>> {
    let result = Err(Refusal::because(ErrorCode::TooLarge, "the answer does not fit a frame"));
    codec::encode(&Outgoing::Reply { sequence, head: state.audit.head(), result })
}

/// Whoever breaks the protocol's own rules is not talked to any more.
fn ends_the_connection(refusal: &Refusal) -> bool {
    matches!(
        refusal.code,
        ErrorCode::Malformed | ErrorCode::Version | ErrorCode::OutOfOrder | ErrorCode::BadSignature
    )
}
