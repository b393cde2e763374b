//! The protocol spoken by hand: whatever a client could send, and much that none of ours would.
#![forbid(unsafe_code)]

use closedpaw_descriptors::frames::send_packet;
use closedpaw_descriptors::sealed::seal;
use closedpaw_descriptors::stream_pair;
use closedpaw_protocol::message::{
    Answer, Event, Head, Hello, Opening, Outgoing, Question, Reply, Request, Signed, Welcome,
};
use closedpaw_protocol::sign::{self, Context};
use closedpaw_protocol::stream::{self, Exit, Kind};
use closedpaw_protocol::{
    Action, ApprovalId, Challenge, Digest, Effect, KeyId, Label, Refusal, Revision, SandboxId, SessionId,
    Stdin, Tier, VERSION, encode, frame,
};
use ed25519_dalek::SigningKey;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an answer may take before a test gives it up.
const ANSWER: Duration = Duration::from_secs(60);

/// One connection after the two first frames. Any key may speak on it.
pub struct Raw {
    stream: UnixStream,
    /// The daemon's challenge, which every signature here covers.
    pub challenge: Challenge,
    /// The number of the next statement.
    pub sequence: u64,
    /// Events that came before the answer that was waited for.
    pub events: VecDeque<Event>,
    /// The log's head of the last answer.
    pub head: Option<Head>,
    /// Every byte that was sent, from the first frame on.
    pub sent: Vec<u8>,
}

/// A key nobody knows.
pub fn fresh_key() -> SigningKey {
    let mut seed = [0; 32];
    File::open("/dev/urandom").unwrap().read_exact(&mut seed).unwrap();
    SigningKey::from_bytes(&seed)
}

/// Now, in unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Raw {
    /// Sends the first frame and reads the daemon's; none if it hangs up.
    pub fn begin(stream: UnixStream) -> Option<Self> {
        let hello = Hello { version: VERSION, challenge: Challenge(fresh_key().to_bytes()) };
        let bytes = frame::wrap(&encode(&hello).unwrap()).unwrap();
        Self::begin_with(stream, &bytes)
    }

    /// Sends these bytes as the first and reads the daemon's frame.
    pub fn begin_with(stream: UnixStream, bytes: &[u8]) -> Option<Self> {
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        let mut raw = Self {
            stream,
            challenge: Challenge([0; 32]),
            sequence: 0,
            events: VecDeque::new(),
            head: None,
            sent: Vec::new(),
        };
        raw.bytes(bytes).ok()?;
        let welcome: Welcome = closedpaw_protocol::decode(&raw.frame()?).ok()?;
        raw.challenge = welcome.challenge;
        Some(raw)
    }

    /// Sends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.extend_from_slice(bytes);
        self.stream.write_all(bytes)
    }

    /// Sends one frame with descriptors.
    pub fn send_frame(&mut self, body: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = frame::wrap(body).expect("a frame's length");
        self.sent.extend_from_slice(&bytes);
        send_packet(&self.stream, &bytes, with)
    }

    /// Reads one frame's body; none when the daemon has hung up.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; frame::HEADER];
        self.fill(&mut header)?;
        let mut body = vec![0; frame::length(header).unwrap()];
        self.fill(&mut body)?;
        Some(body)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the daemon does not answer"),
            Err(_) => None,
        }
    }

    /// What the daemon says next; none when it has hung up.
    pub fn receive(&mut self) -> Option<Outgoing> {
        self.frame().map(|body| closedpaw_protocol::decode(&body).unwrap())
    }

    /// Reads to the end of the connection and gives the last refusal before it, if one came. Panics if the daemon
    /// keeps the connection.
    pub fn ended(&mut self) -> Option<Refusal> {
        let mut last = None;
        while let Some(outgoing) = self.receive() {
            if let Outgoing::Reply { result, .. } = outgoing {
                last = result.err();
            }
        }
        last
    }

    /// A signed statement, in its place on this connection.
    pub fn signed(&self, key: &SigningKey, context: Context, body: Vec<u8>) -> Signed {
        self.signed_as(key, context, self.sequence, body)
    }

    /// A signed statement of any number.
    pub fn signed_as(&self, key: &SigningKey, context: Context, sequence: u64, body: Vec<u8>) -> Signed {
        let signature = sign::sign(key, context, &self.challenge, sequence, &body);
        Signed { context, key: sign::key_id(key), sequence, signature, body }
    }

    /// Sends a statement and counts it; whatever is in it.
    pub fn send(&mut self, signed: &Signed, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.sequence = signed.sequence + 1;
        self.send_frame(&encode(signed).expect("a statement that fits"), with)
    }

    /// Makes a statement in its place and waits for the answer; none when the daemon has hung up.
    pub fn try_state(
        &mut self,
        key: &SigningKey,
        context: Context,
        body: Vec<u8>,
        with: &[BorrowedFd<'_>],
    ) -> Option<Result<Reply, Refusal>> {
        let signed = self.signed(key, context, body);
        self.send(&signed, with).ok()?;
        self.answer_to(signed.sequence)
    }

    /// The answer to the statement of that number.
    pub fn answer_to(&mut self, number: u64) -> Option<Result<Reply, Refusal>> {
        loop {
            match self.receive()? {
                Outgoing::Event(event) => self.events.push_back(event),
                Outgoing::Reply { sequence, head, result } if sequence == number => {
                    self.head = Some(head);
                    return Some(result);
                }
                Outgoing::Reply { .. } => {}
            }
        }
    }

    /// Makes a request.
    pub fn request(
        &mut self,
        key: &SigningKey,
        request: &Request,
        with: &[BorrowedFd<'_>],
    ) -> Result<Reply, Refusal> {
        let body = encode(request).expect("a request that fits");
        self.try_state(key, Context::Request, body, with).expect("the daemon keeps the connection")
    }

    /// Answers a question.
    pub fn answer(&mut self, key: &SigningKey, answer: &Answer) -> Result<Reply, Refusal> {
        let body = encode(answer).unwrap();
        self.try_state(key, Context::Approval, body, &[]).expect("the daemon keeps the connection")
    }

    /// Says yes to exactly what a question asks.
    pub fn approve(&mut self, key: &SigningKey, question: &Question) -> Result<Reply, Refusal> {
        self.answer(key, &yes(question))
    }

    /// Opens a session.
    pub fn open(
        &mut self,
        key: &SigningKey,
        opening: &Opening,
        workspace: Option<&File>,
    ) -> Result<Opened, Refusal> {
        let with: Vec<_> = workspace.iter().map(|file| file.as_fd()).collect();
        let body = encode(opening).unwrap();
        let reply =
            self.try_state(key, Context::Opening, body, &with).expect("the daemon keeps the connection")?;
        let Reply::Opened { session, sandbox, revision, label, .. } = reply else {
            panic!("not opened: {reply:?}")
        };
        Ok(Opened {
            session,
            sandbox,
            revision,
            label,
            isolation: opening.isolation,
            profile: opening.profile.clone(),
        })
    }

    /// Asks for an action, bringing a stream and, where it names one, its sealed input.
    pub fn act(
        &mut self,
        key: &SigningKey,
        action: &Action,
        approval: Option<ApprovalId>,
        sealed: Option<&OwnedFd>,
    ) -> Result<Acted, Refusal> {
        let (ours, theirs) = stream_pair().unwrap();
        let with: Vec<_> = std::iter::once(theirs.as_fd()).chain(sealed.map(AsFd::as_fd)).collect();
        match self.request(key, &Request::Act { action: action.clone(), approval }, &with)? {
            Reply::Running { rule, label, .. } => {
                drop(theirs);
                Ok(Acted::Running(Running {
                    stream: ours.into(),
                    rule,
                    label,
                    order: action.seal().unwrap().0,
                }))
            }
            Reply::Pending(question) => Ok(Acted::Pending(question)),
            other => panic!("another answer than to an action: {other:?}"),
        }
    }

    /// The next event for which `wanted` says yes; others are dropped.
    pub fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => match self.receive().expect("the daemon keeps the connection") {
                    Outgoing::Event(event) => event,
                    Outgoing::Reply { .. } => continue,
                },
            };
            if wanted(&event) {
                return event;
            }
        }
    }
}

/// The yes to exactly what a question asks.
pub fn yes(question: &Question) -> Answer {
    let (_, digest) = question.action.seal().unwrap();
    Answer { id: question.id, digest, revision: question.action.revision, granted: true }
}

/// The opening of a session on a folder for an agent's key, as the shipped client makes it.
pub fn opening(agent: &SigningKey, workspace: Option<&Path>) -> Opening {
    Opening {
        agent: sign::key_id(agent),
        workspace: workspace.map(|path| path.display().to_string()),
        trusted: false,
        label: Label::default(),
        profile: "default".to_owned(),
        isolation: Tier::Gvisor,
        expires: now() + 3600,
    }
}

/// What the daemon told about a session.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its name.
    pub session: SessionId,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// The policy in force.
    pub revision: Revision,
    /// Its label.
    pub label: Label,
    isolation: Tier,
    profile: String,
}

impl Opened {
    /// An action of this session.
    pub fn action(&self, effect: Effect) -> Action {
        let Self { session, revision, isolation, profile, .. } = self.clone();
        Action { session, revision, isolation, profile, effect }
    }

    /// A command in this session, in the workspace, without input.
    pub fn exec(&self, argv: &[&str]) -> Action {
        self.action(exec(argv))
    }
}

/// A command in the workspace, without variables or input.
pub fn exec(argv: &[&str]) -> Effect {
    Effect::Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        cwd: "/workspace".to_owned(),
        env: vec![],
        stdin: Stdin::Empty,
    }
}

/// A sealed input and what an action says about it.
pub fn input(content: &[u8]) -> (OwnedFd, closedpaw_protocol::Sealed) {
    let sealed = closedpaw_protocol::Sealed { length: content.len() as u64, digest: Digest::of(content) };
    (seal(content).unwrap(), sealed)
}

/// What came of an action.
#[derive(Debug)]
pub enum Acted {
    /// It runs.
    Running(Running),
    /// Somebody has to say yes first.
    Pending(Box<Question>),
}

impl Acted {
    /// The question that was put.
    #[track_caller]
    pub fn pending(self) -> Question {
        match self {
            Self::Pending(question) => *question,
            Self::Running(running) => panic!("it ran by the rule {:?}", running.rule),
        }
    }

    /// The work that runs.
    #[track_caller]
    pub fn running(self) -> Running {
        match self {
            Self::Running(running) => running,
            Self::Pending(question) => panic!("it was asked by the rule {:?}", question.rule),
        }
    }
}

/// Work that was granted, and the stream to it.
#[derive(Debug)]
pub struct Running {
    stream: UnixStream,
    /// The rule that allowed it.
    pub rule: String,
    /// The session's label from now on.
    pub label: Label,
    order: Vec<u8>,
}

impl Running {
    /// Orders exactly what was granted and waits for its end: standard output, standard error, and how it ended.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>, Exit) {
        let order = self.order.clone();
        self.finish_with(&order)
    }

    /// Orders something, which may be another action than the one that was granted.
    pub fn finish_with(mut self, order: &[u8]) -> (Vec<u8>, Vec<u8>, Exit) {
        self.stream.set_read_timeout(Some(ANSWER)).unwrap();
        // A relay that does not like the order has hung up by then; how it ended is still to be read.
        drop(self.say(Kind::Order, order));
        let (mut out, mut err) = (vec![], vec![]);
        loop {
            match self.hear() {
                Some((Kind::Stdout, bytes)) => out.extend(bytes),
                Some((Kind::Stderr, bytes)) => err.extend(bytes),
                Some((Kind::Exit, bytes)) => return (out, err, Exit::from_bytes(&bytes).unwrap()),
                Some((kind, _)) => panic!("{kind:?} from a sandbox"),
                None => return (out, err, Exit::SandboxGone),
            }
        }
    }

    /// Sends one frame to the sandbox.
    pub fn say(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&stream::header(kind, payload).unwrap())?;
        self.stream.write_all(payload)
    }

    /// Sends the order that was granted.
    pub fn order(&mut self) -> io::Result<()> {
        let order = self.order.clone();
        self.say(Kind::Order, &order)
    }

    /// The next frame from the sandbox; none at the end of the stream.
    pub fn hear(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut header = [0; stream::HEADER];
        self.stream.read_exact(&mut header).ok()?;
        let (kind, length) = stream::parse_header(header).unwrap();
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some((kind, payload))
    }
}

/// A person's console and an agent, in one open session.
pub struct Session {
    /// On which the person's key speaks; the session ends with it.
    pub console: Raw,
    /// On which the agent's key speaks.
    pub agent: Raw,
    /// The agent's key.
    pub key: SigningKey,
    /// The session.
    pub opened: Opened,
}

impl Session {
    /// Opens a session on a person's workspace, as the shipped client does.
    pub fn open(person: &crate::world::Person) -> Self {
        Self::open_with(person, |_| {})
    }

    /// Opens one whose opening differs.
    pub fn open_with(person: &crate::world::Person, change: impl FnOnce(&mut Opening)) -> Self {
        let key = fresh_key();
        let mut console = person.raw();
        let mut opening = opening(&key, Some(&person.workspace));
        change(&mut opening);
        let folder = opening.workspace.is_some().then(|| File::open(&person.workspace).unwrap());
        let opened = console.open(&person.key(), &opening, folder.as_ref()).expect("the session opens");
        Self { console, agent: person.raw(), key, opened }
    }

    /// Asks for an action as the agent.
    pub fn act(&mut self, action: &Action, approval: Option<ApprovalId>) -> Result<Acted, Refusal> {
        self.agent.act(&self.key, action, approval, None)
    }

    /// Asks for a command that policy asks about; the person says yes.
    #[track_caller]
    pub fn approved(&mut self, person: &crate::world::Person, argv: &[&str]) -> Running {
        let action = self.opened.exec(argv);
        let question = self.act(&action, None).expect("no refusal").pending();
        self.console.approve(&person.key(), &question).expect("the answer counts");
        self.act(&action, Some(question.id)).expect("no refusal").running()
    }

    /// The public half of the agent's key.
    pub fn key_id(&self) -> KeyId {
        sign::key_id(&self.key)
    }
}
