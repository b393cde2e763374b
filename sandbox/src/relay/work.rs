//! One piece of work: a client's stream, a stream of the channel, and the bounds of its grant.
#![forbid(unsafe_code)]

use super::events::Events;
use crate::channel::{Opener, Stream, read_frame, write_frame};
use closedpaw_confine::filter::Filter;
use closedpaw_descriptors::{Packets, sealed};
use closedpaw_protocol::action::{self, Action, Effect, Stdin};
use closedpaw_protocol::codec;
use closedpaw_protocol::relay::{Grant, Record};
use closedpaw_protocol::stream::{Exit, Kind, MAX_PAYLOAD, WindowSize};
use closedpaw_protocol::{Digest, Sealed};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long a client has to say what was granted to it.
const ORDER: Duration = Duration::from_secs(10);

/// How long a program that was hung up has before it is killed.
const HUNG_UP: Duration = Duration::from_millis(500);

/// How long a killed program has to be gone before the work counts as ended without it.
const KILLED: Duration = Duration::from_secs(1);

/// The largest sealed input that is read into memory.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// A granted piece of work and the descriptors that came with it.
pub(super) struct Work {
    grant: Grant,
    descriptors: std::vec::IntoIter<OwnedFd>,
    control: Rc<Packets>,
    input: u64,
    output: u64,
    hash: blake3::Hasher,
    /// Whether the client has gone, and the program was ended for that.
    left: bool,
}

/// What was granted, found to be what the client sent.
struct Order {
    bytes: Vec<u8>,
    input: Input,
}

/// Where the program's input comes from.
enum Input {
    /// From here, and it is this.
    Fixed(Vec<u8>),
    /// From the client.
    Live,
    /// From the client, who has a terminal and says how large it is before anything else.
    Terminal,
}

impl Work {
    pub(super) fn new(grant: Grant, descriptors: Vec<OwnedFd>, control: Rc<Packets>) -> Self {
        Self {
            grant,
            descriptors: descriptors.into_iter(),
            control,
            input: 0,
            output: 0,
            hash: blake3::Hasher::new(),
            left: false,
        }
    }

    /// Does the work and tells both the judge and the client how it ended; the judge first.
    pub(super) async fn run(mut self, opener: &Opener) {
        let Some(Ok(client)) = self.descriptors.next().map(client_stream) else {
            return self.record(Exit::Mismatch).await;
        };
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let filter = self.filter();
        let exit = match (self.order(&mut from_client).await, filter) {
            (Some(_), Err(error)) => {
                Exit::NotStarted(error.raw_os_error().filter(|errno| *errno > 0).unwrap_or(libc::EIO))
            }
            (Some(order), Ok(filter)) => {
                // What came besides is the sandbox's counts.
                let events = Events::new(self.descriptors.by_ref());
                let exit = self.carry(order, filter, opener, &mut from_client, &mut to_client).await;
                if self.left { exit } else { events.name(exit) }
            }
            (None, _) => Exit::Mismatch,
        };
        self.record(exit).await;
        // The client may have gone; the judge knows how it ended.
        drop(write_frame(&mut to_client, Kind::Exit, &exit.to_bytes()).await);
    }

    /// The list of calls that the command is to be left with, where there is one.
    fn filter(&mut self) -> io::Result<Option<Filter>> {
        if !self.grant.filtered {
            return Ok(None);
        }
        let descriptor = self.descriptors.next().ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = Vec::new();
        // One more than there may be of it shows that there is more.
        File::from(descriptor).take(Filter::MOST as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(Filter::from_bytes(bytes).ok_or(io::ErrorKind::InvalidData)?))
    }

    /// The client's first frame, if it is exactly what was granted.
    async fn order(&mut self, client: &mut (impl AsyncRead + Unpin)) -> Option<Order> {
        let frame = tokio::time::timeout(ORDER, read_frame(client)).await.ok()?.ok()??;
        let (Kind::Order, bytes) = frame else { return None };
        if action::digest(&bytes) != self.grant.action {
            return None;
        }
        let action: Action = codec::decode(&bytes).ok()?;
        let input = match (&action.effect, action.effect.sealed()) {
            (_, Some(claim)) => Input::Fixed(read_sealed(self.descriptors.next()?, claim)?),
            (Effect::Exec { stdin: Stdin::Live, .. }, None) => Input::Live,
            (Effect::Exec { stdin: Stdin::Terminal, .. }, None) => Input::Terminal,
            (_, None) => Input::Fixed(Vec::new()),
        };
        Some(Order { bytes, input })
    }

    async fn carry(
        &mut self,
        order: Order,
        filter: Option<Filter>,
        opener: &Opener,
        from_client: &mut ReadHalf<UnixStream>,
        to_client: &mut WriteHalf<UnixStream>,
    ) -> Exit {
        let Some(stream) = opener.open().await else { return Exit::SandboxGone };
        let (mut from_init, mut to_init) = tokio::io::split(stream);
        if let Some(filter) = filter
            && write_frame(&mut to_init, Kind::Filter, filter.bytes()).await.is_err()
        {
            return Exit::SandboxGone;
        }
        if write_frame(&mut to_init, Kind::Order, &order.bytes).await.is_err() {
            return Exit::SandboxGone;
        }
        let until = Instant::now() + Duration::from_secs(u64::from(self.grant.seconds));
        let ends = if matches!(order.input, Input::Terminal) { End::HangUp } else { End::Kill };
        let mut input = 0;
        let exit = tokio::select! {
            biased;
            exit = self.output(&mut from_init, to_client) => exit,
            () = feed(order.input, from_client, &mut to_init, &mut input) => None,
            () = tokio::time::sleep_until(until) => Some(Exit::Timeout),
        };
        self.input = input;
        match exit {
            Some(exit @ (Exit::Status(_) | Exit::Signal(_) | Exit::NotStarted(_) | Exit::SandboxGone)) => {
                exit
            }
            Some(
                exit @ (Exit::Timeout
                | Exit::OutputLimit
                | Exit::Mismatch
                | Exit::MemoryLimit
                | Exit::ProcessLimit),
            ) => {
                ends.bring(&mut from_init, &mut to_init).await;
                exit
            }
            None => {
                self.left = true;
                ends.bring(&mut from_init, &mut to_init).await;
                Exit::Signal(9)
            }
        }
    }

    /// Carries output to the client until the work ends; `None` if the client has gone.
    async fn output(
        &mut self,
        from_init: &mut ReadHalf<Stream>,
        to_client: &mut WriteHalf<UnixStream>,
    ) -> Option<Exit> {
        loop {
            let Ok(Some((kind, payload))) = read_frame(from_init).await else {
                return Some(Exit::SandboxGone);
            };
            match kind {
                Kind::Stdout | Kind::Stderr => {}
                Kind::Exit => return Some(init_exit(&payload)),
                // Anything else is not init's to say.
                Kind::Order
                | Kind::Filter
                | Kind::Stdin
                | Kind::StdinEnd
                | Kind::Signal
                | Kind::Resize
                | Kind::Gate => {
                    return Some(Exit::SandboxGone);
                }
            }
            let room = usize::try_from(self.grant.output.saturating_sub(self.output)).unwrap_or(usize::MAX);
            let fits = payload.get(..room).unwrap_or(&payload);
            self.output += fits.len() as u64;
            self.hash.update(fits);
            if !fits.is_empty() && write_frame(to_client, kind, fits).await.is_err() {
                return None;
            }
            if fits.len() < payload.len() {
                return Some(Exit::OutputLimit);
            }
        }
    }

    async fn record(&self, exit: Exit) {
        let digest = Digest(*self.hash.finalize().as_bytes());
        let record =
            Record::Ended { work: self.grant.work, exit, input: self.input, output: self.output, digest };
        // Without a judge the relay ends by itself.
        drop(self.control.send(&record.to_bytes(), &[]).await);
    }
}

/// An exit that init may report; what only the relay can know would be a lie from it.
fn init_exit(payload: &[u8]) -> Exit {
    match Exit::from_bytes(payload) {
        Ok(exit @ (Exit::Status(_) | Exit::Signal(_) | Exit::NotStarted(_))) => exit,
        Ok(
            Exit::Timeout
            | Exit::OutputLimit
            | Exit::Mismatch
            | Exit::SandboxGone
            | Exit::MemoryLimit
            | Exit::ProcessLimit,
        )
        | Err(_) => Exit::SandboxGone,
    }
}

/// Gives the program its input and the client's signals, and returns when the client has gone.
async fn feed(
    input: Input,
    client: &mut (impl AsyncRead + Unpin),
    init: &mut (impl AsyncWrite + Unpin),
    count: &mut u64,
) {
    let terminal = matches!(input, Input::Terminal);
    let live = matches!(input, Input::Live);
    let mut sized = false;
    if let Input::Fixed(fixed) = input {
        for part in fixed.chunks(MAX_PAYLOAD) {
            if write_frame(init, Kind::Stdin, part).await.is_err() {
                return std::future::pending().await;
            }
            *count += part.len() as u64;
        }
        drop(write_frame(init, Kind::StdinEnd, &[]).await);
    }
    while let Ok(Some((kind, payload))) = read_frame(client).await {
        let passed = match kind {
            Kind::Stdin | Kind::StdinEnd if live => true,
            Kind::Stdin if sized => true,
            Kind::Resize if terminal => {
                sized = true;
                WindowSize::from_bytes(&payload).is_ok()
            }
            Kind::Signal => payload.len() == 1 && (sized || !terminal),
            Kind::Stdin
            | Kind::StdinEnd
            | Kind::Order
            | Kind::Filter
            | Kind::Resize
            | Kind::Stdout
            | Kind::Stderr
            | Kind::Exit
            | Kind::Gate => false,
        };
        if !passed {
            return;
        }
        if kind == Kind::Stdin {
            *count += payload.len() as u64;
        }
        if write_frame(init, kind, &payload).await.is_err() {
            // The program has ended or init has; the other half of the stream says which.
            return std::future::pending().await;
        }
    }
}

/// How a program is ended before its time.
#[derive(Clone, Copy)]
enum End {
    /// At once.
    Kill,
    /// As one whose terminal has gone: it is told, and killed if it stays.
    HangUp,
}

impl End {
    /// Ends the program and waits a moment for init to say that it is gone.
    async fn bring(self, from_init: &mut (impl AsyncRead + Unpin), to_init: &mut (impl AsyncWrite + Unpin)) {
        let signals: &[(u8, Duration)] = match self {
            Self::Kill => &[(9, KILLED)],
            Self::HangUp => &[(1, HUNG_UP), (9, KILLED)],
        };
        let mut gone = std::pin::pin!(gone(from_init));
        for (signal, patience) in signals {
            // Past the last one the sandbox is beyond helping; its session will be closed, and it with it.
            if write_frame(to_init, Kind::Signal, &[*signal]).await.is_err()
                || tokio::time::timeout(*patience, &mut gone).await.is_ok()
            {
                return;
            }
        }
    }
}

/// Reads until the program is gone.
async fn gone(from_init: &mut (impl AsyncRead + Unpin)) {
    while let Ok(Some((Kind::Stdout | Kind::Stderr, _))) = read_frame(from_init).await {}
}

fn client_stream(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn read_sealed(descriptor: OwnedFd, claim: Sealed) -> Option<Vec<u8>> {
    if claim.length > MAX_INPUT || !sealed::is_sealed(&descriptor, claim.length) {
        return None;
    }
    let mut content = Vec::new();
    File::from(descriptor).take(claim.length).read_to_end(&mut content).ok()?;
    (content.len() as u64 == claim.length && Digest::of(&content) == claim.digest).then_some(content)
}
