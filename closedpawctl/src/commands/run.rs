//! `closedpawctl run -- CMD…`: a command in a sandbox, without a model.
#![forbid(unsafe_code)]

use crate::client::heads;
use crate::client::{Connection, Daemon, fresh_key, key_id};
use crate::console::ask::answer;
use crate::console::events::{Events, watch};
use crate::console::finish::{self, Wrote};
use crate::console::screen::{self, Screen};
use crate::console::session::{self, Choice, Person, Session, rejoin};
use crate::console::terminal;
use crate::failure::Failure;
use crate::work::{self, Feeding, Listening, Said};
use closedpaw_protocol::message::Event;
use closedpaw_protocol::stream::{Exit, MAX_PAYLOAD};
use closedpaw_protocol::{ApprovalId, Effect, ErrorCode, Refusal, Stdin};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Read};
use tokio::sync::mpsc;

/// A command and where to run it.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// The session.
    #[command(flatten)]
    pub choice: Choice,
    /// A variable for the command; its name must be on the profile's list.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Say nothing but what the command says.
    #[arg(long, short)]
    pub quiet: bool,
    /// Give the command a terminal: what it shows is drawn, and what you type goes to it. `~.` at the beginning of a line
    /// leaves it.
    #[arg(long, short = 't')]
    pub tty: bool,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    pub argv: Vec<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it and gives its exit status.
pub async fn run(run: Run, daemon: &Daemon) -> Result<u8, Failure> {
    if run.tty {
        terminal::check()?;
    }
    let person = Person::of(daemon)?;
    let agent = fresh_key()?;
    let mut control = person.connect().await?;
    let session = session::open(&mut control, &person, &run.choice, key_id(&agent)).await?;
    if let Some(began) = finish::began(&session).filter(|_| !run.quiet) {
        Screen::new().note(&began);
    }
    let mut events = watch(&person).await?;
    let mut connection = Connection::begin(daemon.dial()?, &person.pinned, agent.clone()).await?;
    let live = !io::stdin().is_terminal();
    let effect = Effect::Exec {
        argv: run.argv,
        cwd: if session.workspace.is_some() { "/workspace" } else { "/tmp" }.to_owned(),
        env: run.env,
        stdin: match run.tty {
            true => Stdin::Terminal,
            false if live && has_input() => Stdin::Live,
            false => Stdin::Empty,
        },
    };
    let fed = matches!(&effect, Effect::Exec { stdin: Stdin::Live, .. });
    let drawn = Cell::new(false);
    let mut seat = session.seat.clone();
    let work = async {
        let connect = || async { Connection::begin(daemon.dial()?, &person.pinned, agent.clone()).await };
        let again = || session::patiently(connect);
        let running = work::insist(&mut connection, &mut seat, &effect, None, again).await?;
        let (listening, feeding) = running.split();
        if run.tty {
            drawn.set(true);
            return terminal::carry(listening, feeding).await;
        }
        Ok::<Exit, Failure>(carry(listening, feeding, fed).await)
    };
    let asked = async {
        let mut answered = BTreeSet::new();
        loop {
            attend(&mut control, &mut events, &session, &mut answered, &drawn).await?;
            // What runs goes on where the daemon is restarted, as long as its console comes back.
            (control, events) = rejoin(&person, session.seat.session).await?;
        }
    };
    let result = tokio::select! {
        exit = work => exit,
        stopped = asked => stopped,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    };
    control = session::still(control, &person, session.seat.session).await;
    let mut wrote = Wrote::Something;
    if !run.quiet && result.is_ok() {
        wrote = finish::changed(&mut control, &session, &mut Screen::new()).await;
    }
    finish::close(&mut control, &session, wrote).await;
    heads::check_and_keep(&mut control, &person.pinned).await?;
    let exit = result?;
    if let Some(words) = in_words(exit) {
        screen::err(&format!("closedpawctl: {words}\n"));
    }
    Ok(exit.shell_status())
}

/// Puts questions and names rules that deny, until the daemon hangs up. Nothing of that appears where a program is drawn.
async fn attend(
    control: &mut Connection,
    events: &mut Events,
    session: &Session,
    answered: &mut BTreeSet<ApprovalId>,
    drawn: &Cell<bool>,
) -> Result<(), Failure> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Asked(_) | Event::Denied { .. } if drawn.get() => {}
            // One that is open when the daemon is back may be heard of twice.
            Event::Asked(question)
                if question.action.session == session.seat.session && answered.insert(question.id) =>
            {
                answer(control, *question, events).await?;
            }
            Event::Denied { session: of, rule, .. } if of == session.seat.session && !rule.is_empty() => {
                screen::err(&format!("! the rule \"{}\" denies it\n", screen::visible(&rule)));
            }
            Event::Halted { on: true } => return Err(Refusal::from(ErrorCode::Halted).into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether standard input can hold anything: a pipe or a file, and not `/dev/null`.
fn has_input() -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata("/dev/stdin").is_ok_and(|stdin| !stdin.file_type().is_char_device())
}

/// What a bare exit status would not say.
fn in_words(exit: Exit) -> Option<String> {
    match exit {
        Exit::Status(_) => None,
        Exit::Signal(signal) => Some(format!("the command was ended by signal {signal}")),
        Exit::NotStarted(errno) => {
            Some(format!("the command could not be started: {}", io::Error::from_raw_os_error(errno)))
        }
        Exit::Timeout => Some("time-limit: the command took longer than its time".to_owned()),
        Exit::OutputLimit => Some("output-limit: the command wrote more than its limit".to_owned()),
        Exit::Mismatch => Some("mismatch: what was sent is not what was granted".to_owned()),
        Exit::SandboxGone => Some("sandbox-gone: the sandbox ended under the command".to_owned()),
        Exit::MemoryLimit => {
            Some("memory-limit: the sandbox used up the memory that its profile gives it".to_owned())
        }
        Exit::ProcessLimit => Some(
            "process-limit: the sandbox ended when it had all the processes that its profile gives it"
                .to_owned(),
        ),
    }
}

async fn carry(mut listening: Listening, mut feeding: Feeding, fed: bool) -> Exit {
    let mut input = fed.then(stdin_pieces);
    loop {
        tokio::select! {
            said = listening.next() => match said {
                Said::Stdout(bytes) => screen::pass(&bytes, false),
                Said::Stderr(bytes) => screen::pass(&bytes, true),
                Said::Exit(exit) => return exit,
            },
            piece = next_piece(&mut input) => {
                let sent = match &piece {
                    Some(bytes) => feeding.input(bytes).await,
                    None => {
                        input = None;
                        feeding.end().await
                    }
                };
                // A command that has ended takes no more; how it ended is still to come.
                if sent.is_err() {
                    input = None;
                }
            }
        }
    }
}

async fn next_piece(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// Standard input in pieces, read by a thread that nobody waits for.
fn stdin_pieces() -> mpsc::Receiver<Vec<u8>> {
    let (tell, pieces) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; MAX_PAYLOAD];
        while let Ok(length @ 1..) = io::stdin().lock().read(&mut buffer) {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if tell.blocking_send(piece).is_err() {
                return;
            }
        }
    });
    pieces
}
