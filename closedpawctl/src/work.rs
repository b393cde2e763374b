//! One piece of work at the daemon: asked, if need be answered, then streamed over the client's own descriptor.
//!
//! Used by the agent for its tools and by `closedpawctl run`.
#![forbid(unsafe_code)]

use crate::client::{Connection, Unanswered};
use crate::failure::Failure;
use crate::link::Seat;
use closedpaw_descriptors::stream_pair;
use closedpaw_protocol::message::{Event, Question, Reply, Request};
use closedpaw_protocol::stream::{self, Exit, Kind, WindowSize};
use closedpaw_protocol::{Action, ApprovalId, Effect, ErrorCode, Refusal};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// How often an action is asked for again because the policy changed meanwhile.
const CHANGES: usize = 5;

/// Work that is running, and its stream.
pub struct Running {
    read: ReadHalf<UnixStream>,
    write: WriteHalf<UnixStream>,
}

/// What a running program says.
pub enum Said {
    /// On standard output.
    Stdout(Vec<u8>),
    /// On standard error.
    Stderr(Vec<u8>),
    /// It has ended.
    Exit(Exit),
}

/// How an action stands after asking.
enum Asked {
    Running(Running),
    Pending(Box<Question>),
    Again,
}

/// Asks until it runs or is refused; a question is waited for. Where the daemon goes meanwhile, `again` gives another connection.
pub async fn insist<A>(
    connection: &mut Connection,
    seat: &mut Seat,
    effect: &Effect,
    sealed: Option<&OwnedFd>,
    mut again: impl FnMut() -> A,
) -> Result<Running, Unanswered>
where
    A: Future<Output = Result<Connection, Failure>>,
{
    let mut another = false;
    loop {
        if connection.is_lost() {
            *connection = again().await.map_err(Unanswered::Lost)?;
            another = true;
        }
        match start(connection, seat, effect, sealed).await {
            Err(Unanswered::Unasked(_)) => {}
            // A daemon that has not taken the session back knows nothing of its key.
            Err(Unanswered::Refused(Refusal { code: ErrorCode::UnknownKey, .. })) if another => {
                return Err(Unanswered::Refused(ErrorCode::SessionEnded.into()));
            }
            other => return other,
        }
    }
}

/// Asks until it runs or is refused; a question is waited for.
pub async fn start(
    connection: &mut Connection,
    seat: &mut Seat,
    effect: &Effect,
    sealed: Option<&OwnedFd>,
) -> Result<Running, Unanswered> {
    let mut approval = None;
    for _ in 0..CHANGES {
        match ask(connection, seat, effect, sealed, approval.take()).await? {
            Asked::Running(running) => return Ok(running),
            Asked::Again => {}
            Asked::Pending(question) => approval = decided(connection, seat, question.id).await?,
        }
    }
    Err(Unanswered::Refused(ErrorCode::PolicyChanged.into()))
}

async fn ask(
    connection: &mut Connection,
    seat: &mut Seat,
    effect: &Effect,
    sealed: Option<&OwnedFd>,
    approval: Option<ApprovalId>,
) -> Result<Asked, Unanswered> {
    let lost = |error: io::Error| Unanswered::Lost(Failure::lost(error));
    let Seat { session, revision, profile, isolation, .. } = seat.clone();
    let action = Action { session, revision, isolation, profile, effect: effect.clone() };
    let (bytes, _) = action.seal().ok_or(Unanswered::Refused(ErrorCode::TooLarge.into()))?;
    let (ours, theirs) = stream_pair().map_err(lost)?;
    let descriptors: Vec<_> = std::iter::once(theirs.as_fd()).chain(sealed.map(AsFd::as_fd)).collect();
    match connection.request(&Request::Act { action, approval }, &descriptors).await {
        Ok((Reply::Running { .. }, _)) => {
            drop(theirs);
            Ok(Asked::Running(Running::begin(ours, &bytes).await.map_err(lost)?))
        }
        Ok((Reply::Pending(question), _)) => Ok(Asked::Pending(question)),
        Ok(_) => Err(Unanswered::Lost(Failure::lost("another answer than to an action"))),
        Err(Unanswered::Refused(Refusal { code: ErrorCode::PolicyChanged, detail })) => {
            seat.revision =
                detail.parse().map_err(|_| Unanswered::Refused(ErrorCode::PolicyChanged.into()))?;
            Ok(Asked::Again)
        }
        Err(unanswered) => Err(unanswered),
    }
}

/// Waits for the answer: the approval to name, or none where the policy changed and everything is asked anew.
async fn decided(
    connection: &mut Connection,
    seat: &mut Seat,
    id: ApprovalId,
) -> Result<Option<ApprovalId>, Unanswered> {
    loop {
        match connection.event().await.map_err(Unanswered::Unasked)? {
            Event::Decided { id: about, granted } if about == id => {
                return if granted {
                    Ok(Some(id))
                } else {
                    Err(Unanswered::Refused(ErrorCode::AnsweredNo.into()))
                };
            }
            Event::Policy { revision } => {
                seat.revision = revision;
                return Ok(None);
            }
            Event::Closed { session } if session == seat.session => {
                return Err(Unanswered::Refused(ErrorCode::SessionEnded.into()));
            }
            Event::Halted { on: true } => return Err(Unanswered::Refused(ErrorCode::Halted.into())),
            Event::Decided { .. }
            | Event::Asked(_)
            | Event::Denied { .. }
            | Event::Raised { .. }
            | Event::Ended { .. }
            | Event::Closed { .. }
            | Event::Halted { .. } => {}
        }
    }
}

impl Running {
    async fn begin(socket: OwnedFd, order: &[u8]) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let (read, mut write) = tokio::io::split(UnixStream::from_std(socket)?);
        frame(&mut write, Kind::Order, order).await?;
        Ok(Self { read, write })
    }

    /// Its two directions, for those who feed it while it speaks.
    pub fn split(self) -> (Listening, Feeding) {
        let (tell, said) = mpsc::channel(16);
        tokio::task::spawn_local(listen(self.read, tell));
        (Listening(said), Feeding(self.write))
    }
}

/// Hears what the program says.
pub struct Listening(mpsc::Receiver<Said>);

impl Listening {
    /// The next thing; an end without an exit means that the sandbox has gone. Cancel-safe.
    pub async fn next(&mut self) -> Said {
        self.0.recv().await.unwrap_or(Said::Exit(Exit::SandboxGone))
    }
}

async fn listen(from: ReadHalf<UnixStream>, tell: mpsc::Sender<Said>) {
    let mut from = BufReader::with_capacity(2 * stream::MAX_PAYLOAD, from);
    while let Ok(said) = read(&mut from).await {
        let over = matches!(said, Said::Exit(_));
        if tell.send(said).await.is_err() || over {
            return;
        }
    }
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let mut header = [0; stream::HEADER];
    from.read_exact(&mut header).await?;
    let (kind, length) = stream::parse_header(header).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    match kind {
        Kind::Stdout => Ok(Said::Stdout(payload)),
        Kind::Stderr => Ok(Said::Stderr(payload)),
        Kind::Exit => Ok(Said::Exit(Exit::from_bytes(&payload).map_err(io::Error::other)?)),
        Kind::Order
        | Kind::Filter
        | Kind::Stdin
        | Kind::StdinEnd
        | Kind::Signal
        | Kind::Resize
        | Kind::Gate => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Gives the program input and signals.
pub struct Feeding(WriteHalf<UnixStream>);

impl Feeding {
    /// A piece of standard input.
    pub async fn input(&mut self, bytes: &[u8]) -> io::Result<()> {
        frame(&mut self.0, Kind::Stdin, bytes).await
    }

    /// No more input.
    pub async fn end(&mut self) -> io::Result<()> {
        frame(&mut self.0, Kind::StdinEnd, &[]).await
    }

    /// The size of the person's terminal.
    pub async fn resize(&mut self, size: WindowSize) -> io::Result<()> {
        frame(&mut self.0, Kind::Resize, &size.to_bytes()).await
    }

    /// A signal.
    pub async fn signal(&mut self, number: u8) -> io::Result<()> {
        frame(&mut self.0, Kind::Signal, &[number]).await
    }
}

async fn frame(to: &mut WriteHalf<UnixStream>, kind: Kind, payload: &[u8]) -> io::Result<()> {
    to.write_all(&stream::header(kind, payload).map_err(io::Error::other)?).await?;
    to.write_all(payload).await
}
