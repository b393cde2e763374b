//! The agent's process: confines itself, makes its key, does its job.
#![forbid(unsafe_code)]

use super::confine;
use super::conversation::{AskError, Conversation};
use super::discover;
use super::hands::Daemon;
use super::limits::Limits;
use super::ports::{BoxStream, Dial, DialError, Endpoint, Kind, Note, ToolResult, Voice};
use super::tools::ToolCall;
use crate::client::{Connection, Pinned, fresh_key, key_id, random};
use crate::failure::Failure;
use crate::link::{Job, Place, ToAgent, ToConsole, Undialled};
use closedpaw_descriptors::frames::{FrameReader, FrameWriter, split};
use closedpaw_protocol::codec;
use ed25519_dalek::SigningKey;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use tokio::sync::{Mutex, mpsc};

/// The most bytes of text in one message to the console.
const PIECE: usize = 16 * 1024;

/// Runs the agent on the two descriptors the console left it: the link and a connection to the daemon.
pub fn main(link: OwnedFd, daemon: Option<OwnedFd>) -> ExitCode {
    // Before the first byte of anybody's, and before there is a second thread.
    let confined = confine::confine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let Ok((reader, writer)) = split(link) else { return ExitCode::FAILURE };
        let (console, said) = Console::new();
        let writing = tokio::task::spawn_local(say(writer, said));
        let result = match confined {
            Ok(()) => work(reader, daemon, &console).await,
            Err(failure) => Err(failure),
        };
        let code = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        console.say(match result {
            Ok(()) => ToConsole::Done,
            Err(Failure { code, cause, next, exit }) => {
                ToConsole::Failed { code: code.to_owned(), cause, next, exit }
            }
        });
        drop(console);
        // Everything that was said goes out before the end does.
        drop(writing.await);
        code
    })
}

async fn work(mut reader: FrameReader, daemon: Option<OwnedFd>, console: &Console) -> Result<(), Failure> {
    let key = fresh_key()?;
    console.say(ToConsole::Ready(key_id(&key)));
    let gone = || Failure::lost("the console has gone");
    let frame = reader.read().await.map_err(Failure::lost)?.ok_or_else(gone)?;
    let ToAgent::Job(job) = codec::decode(&frame.body).map_err(Failure::lost)? else { return Err(gone()) };
    let Job { question, endpoints, session } = *job;
    let endpoints: Vec<Endpoint> = endpoints.into_iter().map(endpoint).collect();
    let dialler = Rc::new(Mutex::new(Dialler { reader, console: console.clone() }));
    let mut dial = Rc::clone(&dialler);
    let mut voice = console.clone();
    let limits = Limits::default();
    let model = discover::find(&mut dial, &endpoints, &mut voice, &limits).await.map_err(no_model)?;
    console.say(ToConsole::Model {
        label: model.label().to_owned(),
        name: model.name().to_owned(),
        embedded: model.embedded(),
    });
    let (Some(question), Some(seat), Some(socket)) = (question, session, daemon) else { return Ok(()) };
    let connection = Connection::begin(socket, &Pinned { key: seat.daemon }, key.clone()).await?;
    let line = Line { dialler, key, daemon: Pinned { key: seat.daemon } };
    let mut hands = Daemon::new(connection, seat, console.clone(), line);
    let mut conversation = Conversation::new(model, random()?, limits);
    let answer = conversation.ask(&question, &mut dial, &mut hands, &mut voice).await.map_err(no_answer)?;
    hands.close().await;
    drop(answer);
    Ok(())
}

fn endpoint(place: Place) -> Endpoint {
    let Place { label, kind, host, base, model, embedded } = place;
    let kind = match kind {
        1 => Kind::Ollama,
        2 => Kind::OpenAi,
        _ => Kind::Either,
    };
    Endpoint { label, kind, host_header: host, base_path: base, model, embedded }
}

fn no_model(error: discover::NoModel) -> Failure {
    Failure::new(
        "no-model",
        69,
        error.to_string(),
        "closedpawctl model fetch gets the embedded one; or start Ollama, or name a server with --model-url",
    )
}

fn no_answer(error: AskError) -> Failure {
    let exit = if error == AskError::Stopped { 130 } else { 69 };
    Failure::new(
        "no-answer",
        exit,
        error.to_string(),
        "look at the model's server, or try another model: --model-url, --model",
    )
}

/// Says things to the console, in order, without waiting.
#[derive(Clone)]
pub struct Console(mpsc::UnboundedSender<ToConsole>);

impl Console {
    fn new() -> (Self, mpsc::UnboundedReceiver<ToConsole>) {
        let (say, said) = mpsc::unbounded_channel();
        (Self(say), said)
    }

    /// Says one thing. Once the console has gone, nobody listens and nothing matters.
    pub fn say(&self, message: ToConsole) {
        let _ = self.0.send(message);
    }

    fn text(&self, text: &str, message: impl Fn(String) -> ToConsole) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.say(message(piece.to_owned()));
            rest = after;
        }
    }
}

async fn say(writer: FrameWriter, mut said: mpsc::UnboundedReceiver<ToConsole>) {
    while let Some(message) = said.recv().await {
        let Some(frame) = codec::encode(&message) else { continue };
        if writer.write(&frame, &[]).await.is_err() {
            return;
        }
    }
}

impl Voice for Console {
    fn token(&mut self, text: &str) {
        self.text(text, ToConsole::Token);
    }

    fn passage_end(&mut self) {
        self.say(ToConsole::PassageEnd);
    }

    fn thinking(&mut self, _text: &str) {}

    fn note(&mut self, note: &Note) {
        self.text(&note_text(note), ToConsole::Note);
    }

    fn tool_start(&mut self, call: &ToolCall) {
        self.text(&call.to_string(), ToConsole::Tool);
    }

    fn tool_end(&mut self, _call: &ToolCall, result: &ToolResult) {
        let (good, how) = match result {
            ToolResult::Done { .. } => (true, "done".to_owned()),
            ToolResult::Failed { failure, .. } => (false, failure.to_string()),
            ToolResult::Denied { code } => {
                let code = closedpaw_protocol::ErrorCode::from_number(*code);
                (false, format!("not done: {}", code.map_or("refused", |code| code.word())))
            }
            ToolResult::Stopped => (false, "stopped".to_owned()),
            ToolResult::Lost => (false, "the daemon has gone".to_owned()),
        };
        self.say(ToConsole::ToolEnd { good, how });
    }
}

fn note_text(note: &Note) -> String {
    match note {
        Note::Loading { label } => format!("{label} is still loading its model"),
        Note::CloudModelSkipped { label, model } => {
            format!("{label}: {model} runs elsewhere and was left alone")
        }
        Note::StepsInstead => "this model cannot call tools by itself; it is led step by step".to_owned(),
        Note::OutputCut { bytes, kept } => format!("the model saw {kept} of {bytes} bytes of that output"),
        Note::HistoryDropped { exchanges } => {
            format!("{exchanges} earlier questions were left out to make room")
        }
        Note::ToolFailed { call, failure } => format!("{call}: {failure}"),
        Note::BadCall { reason } => {
            format!("the model asked for a tool in a way that makes no sense: {reason}")
        }
        Note::AnswerCut => "the answer was cut off at its length limit".to_owned(),
        Note::Retrying => "the model's server failed and is asked again".to_owned(),
    }
}

/// Has the console dial.
struct Dialler {
    reader: FrameReader,
    console: Console,
}

impl Dial for Rc<Mutex<Dialler>> {
    async fn dial(&mut self, endpoint: usize) -> Result<BoxStream, DialError> {
        let number = u32::try_from(endpoint).map_err(|_| DialError::NotAllowed)?;
        let stream = self.lock().await.ask(ToConsole::Dial(number)).await?;
        stream_of(stream).map_err(|_| DialError::Unreachable)
    }
}

/// The way to the daemon after it has hung up.
pub struct Line {
    dialler: Rc<Mutex<Dialler>>,
    key: SigningKey,
    daemon: Pinned,
}

impl Line {
    /// Another connection, on which the same key speaks.
    pub async fn again(&self) -> Result<Connection, Failure> {
        let socket = self.dialler.lock().await.ask(ToConsole::DialDaemon).await;
        let socket = socket.map_err(|_| Failure::lost("the console cannot reach it either"))?;
        Connection::begin(socket, &self.daemon, self.key.clone()).await
    }
}

impl Dialler {
    async fn ask(&mut self, wish: ToConsole) -> Result<OwnedFd, DialError> {
        self.console.say(wish);
        let frame = self.reader.read().await.ok().flatten().ok_or(DialError::ConsoleGone)?;
        match codec::decode(&frame.body) {
            Ok(ToAgent::Dialled(Ok(()))) => {
                frame.descriptors.into_iter().next().ok_or(DialError::ConsoleGone)
            }
            Ok(ToAgent::Dialled(Err(why))) => Err(match why {
                Undialled::Refused => DialError::Refused,
                Undialled::Unreachable => DialError::Unreachable,
                Undialled::TimedOut => DialError::TimedOut,
                Undialled::NotAllowed => DialError::NotAllowed,
            }),
            Ok(ToAgent::Job(_)) | Err(_) => Err(DialError::ConsoleGone),
        }
    }
}

/// Bytes are bytes: a connected TCP socket and a Unix one are read and written with the same calls.
fn stream_of(socket: OwnedFd) -> std::io::Result<BoxStream> {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(Box::new(tokio::net::UnixStream::from_std(stream)?))
}
