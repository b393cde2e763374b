//! Talking to the daemon: two first frames, then signed statements and their answers.
#![forbid(unsafe_code)]

mod dial;
pub mod heads;
#[cfg(test)]
mod tests;

pub use dial::{Daemon, Pinned};

use crate::failure::Failure;
use closedpaw_descriptors::Frame;
use closedpaw_descriptors::frames::{FrameReader, FrameWriter, split};
use closedpaw_protocol::message::{
    Answer, Event, Head, Hello, Opening, Outgoing, Reply, Request, Signed, Welcome,
};
use closedpaw_protocol::sign::{self, Context, Verifier};
use closedpaw_protocol::{Challenge, KeyId, Refusal, VERSION, codec};
use ed25519_dalek::SigningKey;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// An answer and the descriptors that came with it.
pub type Answered = (Reply, Vec<OwnedFd>);

/// Why a statement got no good answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The daemon said no.
    Refused(Refusal),
    /// The connection is of no more use, and nobody knows whether the daemon heard.
    Lost(Failure),
    /// The connection is of no more use, and nothing was done: the daemon did not hear the whole statement, or went with the
    /// question that it put.
    Unasked(Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Refused(refusal) => refusal.into(),
            Unanswered::Lost(failure) | Unanswered::Unasked(failure) => failure,
        }
    }
}

/// One connection on which one key speaks.
pub struct Connection {
    frames: mpsc::Receiver<io::Result<Frame>>,
    writer: FrameWriter,
    challenge: Challenge,
    key: SigningKey,
    sequence: u64,
    events: VecDeque<Event>,
    head: Option<Head>,
    /// Nobody reads what is written any more.
    deaf: bool,
    /// Holds the socket open as long as it reads.
    listener: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Connection {
    /// Exchanges the first frames on a dialled socket. The daemon must prove that it holds the pinned key.
    pub async fn begin(socket: OwnedFd, pinned: &Pinned, key: SigningKey) -> Result<Self, Failure> {
        let (mut reader, writer) = split(socket).map_err(Failure::lost)?;
        let own = Challenge(random()?);
        let hello = codec::encode(&Hello { version: VERSION, challenge: own }).unwrap_or_default();
        writer.write(&hello, &[]).await.map_err(Failure::lost)?;
        let frame = reader.read().await.map_err(Failure::lost)?.ok_or_else(|| Failure::lost("it hung up"))?;
        let welcome: Welcome = codec::decode(&frame.body).map_err(Failure::lost)?;
        if welcome.version != VERSION {
            return Err(Refusal::from(closedpaw_protocol::ErrorCode::Version).into());
        }
        if welcome.key != pinned.key || !pinned.proves(&own, &welcome) {
            return Err(Failure::new(
                "not-the-daemon",
                76,
                "whoever answers on the socket does not hold the daemon's key",
                "do not go on; compare /etc/closedpaw/daemon.pub with the machine's admin",
            ));
        }
        let challenge = welcome.challenge;
        let (tell, frames) = mpsc::channel(64);
        let listener = tokio::task::spawn_local(listen(reader, tell)).abort_handle();
        Ok(Self {
            frames,
            writer,
            challenge,
            key,
            sequence: 0,
            events: VecDeque::new(),
            head: None,
            deaf: false,
            listener,
        })
    }

    /// Makes a request and waits for its answer.
    pub async fn request(
        &mut self,
        request: &Request,
        with: &[BorrowedFd<'_>],
    ) -> Result<Answered, Unanswered> {
        self.state(Context::Request, codec::encode(request), with).await
    }

    /// Opens a session.
    pub async fn open(&mut self, opening: &Opening, with: &[BorrowedFd<'_>]) -> Result<Answered, Unanswered> {
        self.state(Context::Opening, codec::encode(opening), with).await
    }

    /// Answers a question.
    pub async fn answer(&mut self, answer: &Answer) -> Result<Answered, Unanswered> {
        self.state(Context::Approval, codec::encode(answer), &[]).await
    }

    async fn state(
        &mut self,
        context: Context,
        body: Option<Vec<u8>>,
        with: &[BorrowedFd<'_>],
    ) -> Result<Answered, Unanswered> {
        let lost = |error: &dyn std::fmt::Display| Unanswered::Lost(Failure::lost(error));
        let too_large = || Unanswered::Refused(closedpaw_protocol::ErrorCode::TooLarge.into());
        let body = body.ok_or_else(too_large)?;
        let sequence = self.sequence;
        let signature = sign::sign(&self.key, context, &self.challenge, sequence, &body);
        let signed = Signed { context, key: sign::key_id(&self.key), sequence, signature, body };
        let frame = codec::encode(&signed).ok_or_else(too_large)?;
        self.sequence += 1;
        if let Err(error) = self.writer.write(&frame, with).await {
            self.deaf = true;
            return Err(Unanswered::Unasked(Failure::lost(error)));
        }
        loop {
            let frame = self.frame().await.map_err(unheard)?;
            match codec::decode(&frame.body).map_err(|error| lost(&error))? {
                Outgoing::Event(event) => self.events.push_back(event),
                Outgoing::Reply { sequence: answered, head, result } if answered == sequence => {
                    self.head = Some(head);
                    return result.map(|reply| (reply, frame.descriptors)).map_err(Unanswered::Refused);
                }
                // Whoever asked that has stopped waiting.
                Outgoing::Reply { sequence: answered, .. } if answered < sequence => {}
                Outgoing::Reply { .. } => return Err(lost(&"an answer to something that was not asked")),
            }
        }
    }

    async fn frame(&mut self) -> io::Result<Frame> {
        let hung_up = || io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up");
        self.frames.recv().await.ok_or_else(hung_up)?
    }

    /// The next event. Cancel-safe.
    pub async fn event(&mut self) -> Result<Event, Failure> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        loop {
            match codec::decode(&self.frame().await.map_err(Failure::lost)?.body).map_err(Failure::lost)? {
                Outgoing::Event(event) => return Ok(event),
                // Whoever asked that has stopped waiting.
                Outgoing::Reply { sequence, .. } if sequence < self.sequence => {}
                Outgoing::Reply { .. } => {
                    return Err(Failure::lost("an answer to something that was not asked"));
                }
            }
        }
    }

    /// Whether the daemon has hung up.
    pub fn is_lost(&self) -> bool {
        self.deaf || self.frames.is_closed()
    }

    /// The log's head as the last answer told it.
    pub fn head(&self) -> Option<Head> {
        self.head
    }
}

/// A Unix socket that was closed before everything in it was read is *reset* for the other side (`unix_release_sock` of the
/// kernel): then the last statement was not heard to its end, and nothing came of it. Merely closed, it may have been.
fn unheard(error: io::Error) -> Unanswered {
    match error.kind() {
        io::ErrorKind::ConnectionReset => Unanswered::Unasked(Failure::lost(error)),
        _ => Unanswered::Lost(Failure::lost(error)),
    }
}

/// Reads frames in a task of their own, so that whoever waits for one can stop waiting without losing its place.
async fn listen(mut reader: FrameReader, tell: mpsc::Sender<io::Result<Frame>>) {
    while let Some(frame) = reader.read().await.transpose() {
        let over = frame.is_err();
        if tell.send(frame).await.is_err() || over {
            return;
        }
    }
}

impl Pinned {
    fn proves(&self, challenge: &Challenge, welcome: &Welcome) -> bool {
        Verifier::new(&self.key)
            .and_then(|key| key.verify(Context::Daemon, challenge, 0, &welcome.challenge.0, &welcome.proof))
            .is_ok()
    }
}

/// A fresh key, as every agent has one.
pub fn fresh_key() -> Result<SigningKey, Failure> {
    Ok(SigningKey::from_bytes(&random()?))
}

/// The name of a key's public half.
pub fn key_id(key: &SigningKey) -> KeyId {
    sign::key_id(key)
}

/// Random bytes of the kernel's.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new("random", 71, error.to_string(), "try again"))?;
    Ok(bytes)
}
