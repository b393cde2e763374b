//! One piece of work: a process group, its three streams, its end.
#![forbid(unsafe_code)]

use super::User;
use super::gate::Findings;
use super::program::{Program, Started};
use super::reap::Reaper;
use super::terminal::{Terminal, signal_session};
use crate::channel::{Stream, read_frame, write_frame};
use closedpaw_confine::filter::Filter;
use closedpaw_protocol::action::Stdin;
use closedpaw_protocol::stream::{Exit, Kind, WindowSize};
use closedpaw_protocol::{Action, Effect, codec};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Where programs are looked for; all of it is the read-only `/usr`.
const PATH: &str = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin";

/// The variables every program gets. The order may add only names that the profile lists.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("PATH", PATH),
    ("HOME", "/tmp"),
    ("TMPDIR", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("USER", "person"),
    // Programs of `/usr` do not load what a session wrote to its home folder, and do not wait for keys.
    ("PYTHONNOUSERSITE", "1"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// What a terminal is called that understands what the client's emulator does (terminfo(5)).
const TERM: &str = "xterm-256color";

/// How much output is moved at a time.
const CHUNK: usize = 32 * 1024;

/// How long output may still come from what a program left behind once it has ended.
const GRACE: Duration = Duration::from_millis(100);

/// Serves one stream of the channel.
pub(super) async fn run(mut stream: Stream, user: User, findings: Rc<Findings>, reaper: Rc<Reaper>) {
    let Ok(Some(mut first)) = read_frame(&mut stream).await else { return };
    let mut filter = None;
    if first.0 == Kind::Filter {
        // One that is none is not left out: then nothing is started.
        let Some(read) = Filter::from_bytes(first.1) else { return };
        filter = Some(read);
        let Ok(Some(next)) = read_frame(&mut stream).await else { return };
        first = next;
    }
    let (Kind::Order, order) = first else { return };
    if order.is_empty() {
        drop(write_frame(&mut stream, Kind::Gate, &findings.now().0.to_be_bytes()).await);
        return;
    }
    let Some(program) =
        codec::decode::<Action>(&order).ok().and_then(|action| program(&action.effect, filter))
    else {
        return;
    };
    let started = if program.wants_terminal() {
        // How large it is comes before anything else, so that the program never sees another size.
        let Ok(Some((Kind::Resize, size))) = read_frame(&mut stream).await else { return };
        let Ok(size) = WindowSize::from_bytes(&size) else { return };
        program.start_at_terminal(user, size)
    } else {
        program.start(user)
    };
    let exit = match started {
        Ok(started) => carry(started, &mut stream, &reaper).await,
        Err(error) => Exit::NotStarted(error.raw_os_error().filter(|errno| *errno > 0).unwrap_or(libc::EIO)),
    };
    drop(write_frame(&mut stream, Kind::Exit, &exit.to_bytes()).await);
    drop(stream.shutdown().await);
}

/// The program for an effect; `None` for effects that happen elsewhere.
fn program(effect: &Effect, filter: Option<Filter>) -> Option<Program> {
    match effect {
        Effect::Exec { argv, cwd, env, stdin } => {
            let mut variables = BTreeMap::from(ENVIRONMENT);
            if *stdin == Stdin::Terminal {
                variables.insert("TERM", TERM);
            }
            variables.extend(env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            Program::new(argv, cwd, &variables, stdin).map(|program| program.with(filter))
        }
        Effect::List { path } => own("list", path, &Stdin::Empty),
        Effect::Read { path } => own("read", path, &Stdin::Empty),
        Effect::Write { path, content } => own("write", path, &Stdin::Sealed(*content)),
        Effect::Open { .. }
        | Effect::Apply { .. }
        | Effect::Mount { .. }
        | Effect::Fetch { .. }
        | Effect::Connect { .. }
        | Effect::Cloud { .. }
        | Effect::Secret { .. }
        | Effect::Send { .. }
        | Effect::Remember { .. }
        | Effect::Schedule { .. }
        | Effect::Skill { .. }
        | Effect::Tool { .. }
        | Effect::Sandbox { .. }
        | Effect::Log
        | Effect::Admin { .. } => None,
    }
}

fn own(verb: &str, path: &str, stdin: &Stdin) -> Option<Program> {
    let argv = ["/closedpaw/init", verb, path].map(str::to_owned);
    Program::new(&argv, "/workspace", &BTreeMap::new(), stdin)
}

async fn carry(started: Started, stream: &mut Stream, reaper: &Reaper) -> Exit {
    let ended = reaper.ended(started.process);
    let Started { process, input, output, errors, terminal } = started;
    let group = Group { leader: Pid::from_raw(process), session: terminal.is_some() };
    let (mut from_relay, mut to_relay) = tokio::io::split(stream);
    let (say, said) = mpsc::channel(4);
    let errors = {
        let say = say.clone();
        async move {
            if let Some(errors) = errors {
                pump(errors, Kind::Stderr, say).await;
            }
        }
    };
    let mut finished = Box::pin(finished(ended, pump(output, Kind::Stdout, say), errors));
    let mut write = std::pin::pin!(write(&mut to_relay, said));
    let mut listen = std::pin::pin!(listen(&mut from_relay, input, terminal, &group));
    let (mut writing, mut listening) = (true, true);
    let exit = loop {
        tokio::select! {
            exit = &mut finished => break exit,
            whole = &mut write, if writing => {
                writing = false;
                if !whole {
                    group.kill();
                }
            }
            () = &mut listen, if listening => { listening = false; group.kill(); }
        }
    };
    // With the pumps gone nothing more is said; what was read before the end goes out before the exit does.
    drop(finished);
    if writing {
        write.await;
    }
    exit
}

/// Ends when the program has, and with it its output, or a moment later if something it left behind keeps that open.
async fn finished(
    mut ended: tokio::sync::oneshot::Receiver<Exit>,
    output: impl Future<Output = ()>,
    errors: impl Future<Output = ()>,
) -> Exit {
    let mut pumps = std::pin::pin!(async { tokio::join!(output, errors) });
    let exit = tokio::select! {
        exit = &mut ended => {
            // Past the grace period the rest is not the program's any more.
            drop(tokio::time::timeout(GRACE, pumps).await);
            exit
        }
        _ = &mut pumps => ended.await,
    };
    exit.unwrap_or(Exit::Signal(9))
}

/// Sends what is said until nobody can say more; `false` if the relay has gone before.
async fn write(to: &mut (impl AsyncWrite + Unpin), mut said: mpsc::Receiver<(Kind, Vec<u8>)>) -> bool {
    while let Some((kind, payload)) = said.recv().await {
        if write_frame(to, kind, &payload).await.is_err() {
            return false;
        }
    }
    true
}

async fn pump(mut from: impl AsyncRead + Unpin, kind: Kind, to: mpsc::Sender<(Kind, Vec<u8>)>) {
    let mut payload = Vec::with_capacity(CHUNK);
    while let Ok(1..) = from.read_buf(&mut payload).await {
        // What is there already goes along: one frame costs less than many.
        while at_once(&mut from, &mut payload).await {}
        if to.send((kind, std::mem::replace(&mut payload, Vec::with_capacity(CHUNK)))).await.is_err() {
            return;
        }
    }
}

/// Reads into what room there is left, if that takes no waiting; whether there may be more.
async fn at_once(from: &mut (impl AsyncRead + Unpin), payload: &mut Vec<u8>) -> bool {
    if payload.len() == CHUNK {
        return false;
    }
    let room = CHUNK - payload.len();
    let mut from = from.take(room as u64);
    let mut read = std::pin::pin!(from.read_buf(payload));
    std::future::poll_fn(|context| Poll::Ready(matches!(read.as_mut().poll(context), Poll::Ready(Ok(1..)))))
        .await
}

/// Does as the relay says, until it has gone: then the program goes too.
async fn listen(
    from: &mut (impl AsyncRead + Unpin),
    mut input: Option<pipe::Sender>,
    terminal: Option<Terminal>,
    group: &Group,
) {
    while let Ok(Some((kind, payload))) = read_frame(from).await {
        match kind {
            Kind::Stdin => {
                let Some(to) = input.as_mut() else { continue };
                if to.write_all(&payload).await.is_err() {
                    input = None;
                }
            }
            Kind::StdinEnd => input = None,
            Kind::Signal => match payload.first().map(|number| Signal::try_from(i32::from(*number))) {
                Some(Ok(signal)) => group.signal(signal),
                Some(Err(_)) | None => return,
            },
            Kind::Resize => match (&terminal, WindowSize::from_bytes(&payload)) {
                // gVisor tells nobody, and not who is in the foreground; who does not want to hear ignores it (signal(7)).
                (Some(terminal), Ok(size)) if terminal.resize(size).is_ok() => group.signal(Signal::SIGWINCH),
                // One that has hung up has no size.
                (Some(_), Ok(_)) => {}
                (None, _) | (_, Err(_)) => return,
            },
            Kind::Order | Kind::Filter | Kind::Stdout | Kind::Stderr | Kind::Exit | Kind::Gate => return,
        }
    }
}

/// A program and what it started: its process group, or, at a terminal, all groups of its session. None of it outlives
/// the work.
struct Group {
    leader: Pid,
    session: bool,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if self.session {
            signal_session(self.leader, signal);
        } else {
            // It may be gone already.
            let _ = killpg(self.leader, signal);
        }
    }

    fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
