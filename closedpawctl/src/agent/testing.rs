//! Doubles of the ports, for this crate's tests: a dialler to scripted servers, hands and a voice that record.
#![forbid(unsafe_code)]

use std::time::Duration;

use closedpaw_tests::scripted::{Address, Script, Server};
use tokio::net::{TcpStream, UnixStream};

use super::discover::{Mode, Model, Wire};
use super::limits::{Guards, Limits, Timeouts};
use super::ports::{BoxStream, Dial, DialError, Endpoint, Hands, Kind, Note, ToolResult, Voice};
use super::tools::ToolCall;

/// Dials the servers by their place in the list.
pub(super) struct Servers(pub(super) Vec<Server>);

impl Servers {
    pub(super) fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self(scripts.into_iter().map(|script| Server::start(script).unwrap()).collect())
    }
}

impl Dial for Servers {
    async fn dial(&mut self, endpoint: usize) -> Result<BoxStream, DialError> {
        let server = self.0.get(endpoint).ok_or(DialError::NotAllowed)?;
        match server.address() {
            Address::Tcp(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(_) => Err(DialError::Refused),
            },
            Address::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(_) => Err(DialError::Unreachable),
            },
        }
    }
}

/// A dialler that fails.
pub(super) struct NoDial(pub(super) DialError);

impl Dial for NoDial {
    async fn dial(&mut self, _endpoint: usize) -> Result<BoxStream, DialError> {
        Err(self.0)
    }
}

/// A dialler that never comes back.
pub(super) struct NeverDial;

impl Dial for NeverDial {
    async fn dial(&mut self, _endpoint: usize) -> Result<BoxStream, DialError> {
        std::future::pending().await
    }
}

/// Hands that answer with a closure and record what they were asked.
pub(super) struct FakeHands<F> {
    pub(super) calls: Vec<ToolCall>,
    answer: F,
}

impl<F: FnMut(&ToolCall) -> ToolResult> FakeHands<F> {
    pub(super) fn new(answer: F) -> Self {
        Self { calls: Vec::new(), answer }
    }
}

impl<F: FnMut(&ToolCall) -> ToolResult> Hands for FakeHands<F> {
    async fn call(&mut self, call: &ToolCall) -> ToolResult {
        self.calls.push(call.clone());
        (self.answer)(call)
    }
}

/// Hands that must not be needed.
pub(super) fn no_hands() -> FakeHands<impl FnMut(&ToolCall) -> ToolResult> {
    FakeHands::new(|call| panic!("a tool was called: {call}"))
}

/// A voice that records.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) text: String,
    pub(super) thoughts: String,
    pub(super) passages: usize,
    pub(super) notes: Vec<Note>,
    pub(super) tools: Vec<String>,
}

impl Voice for Recorder {
    fn token(&mut self, text: &str) {
        self.text.push_str(text);
    }
    fn passage_end(&mut self) {
        self.passages += 1;
    }
    fn thinking(&mut self, text: &str) {
        self.thoughts.push_str(text);
    }
    fn note(&mut self, note: &Note) {
        self.notes.push(note.clone());
    }
    fn tool_start(&mut self, call: &ToolCall) {
        self.tools.push(format!("> {call}"));
    }
    fn tool_end(&mut self, call: &ToolCall, result: &ToolResult) {
        self.tools.push(format!("< {call}: {result:?}"));
    }
}

/// Limits for tests: what is slow is slow soon.
pub(super) fn limits() -> Limits {
    let later = Duration::from_secs(20);
    let timeouts = Timeouts {
        connect: later,
        probe: later,
        first_byte: later,
        idle: later,
        whole: later,
        loading: later,
        pause: Duration::from_millis(1),
    };
    Limits {
        timeouts,
        guards: Guards { response: 1 << 20, line: 1 << 18, ..Guards::default() },
        ..Limits::default()
    }
}

/// Limits under which nothing may wait.
pub(super) fn impatient() -> Limits {
    let soon = Duration::from_millis(150);
    let timeouts = Timeouts { probe: soon, first_byte: soon, idle: soon, loading: soon, ..limits().timeouts };
    Limits { timeouts, ..limits() }
}

pub(super) fn endpoint(kind: Kind) -> Endpoint {
    Endpoint {
        label: "scripted".into(),
        kind,
        host_header: "127.0.0.1".into(),
        base_path: String::new(),
        model: None,
        embedded: false,
    }
}

pub(super) fn model(wire: Wire, mode: Mode) -> Model {
    Model {
        endpoint: 0,
        label: "scripted".into(),
        host: "127.0.0.1".into(),
        base: String::new(),
        name: "scripted:8b".into(),
        wire,
        mode,
        context: 16_384,
        embedded: false,
    }
}
