//! `closedpawctl ask`: the question in, the agent's work watched over, the answer out.
#![forbid(unsafe_code)]

use super::child::Agent;
use super::endpoints::{self, Endpoint};
use super::events::{Events, watch};
use super::finish::{self, Wrote};
use super::prompt::{self, Said};
use super::screen::{Screen, visible};
use super::session::{self, Choice, Person, Session};
use crate::client::{Connection, Daemon, Unanswered};
use crate::failure::Failure;
use crate::link::{Job, ToAgent, ToConsole, Undialled};
use closedpaw_protocol::message::{Answer, Event, Question, Request};
use closedpaw_protocol::{ApprovalId, ErrorCode, KeyId, Refusal};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// A question and where to ask it.
#[derive(Debug, Clone, clap::Args)]
pub struct Ask {
    /// What you want to know or have done.
    pub question: String,
    #[command(flatten)]
    /// The session.
    pub choice: Choice,
    #[command(flatten)]
    /// The model.
    pub model: ModelChoice,
}

/// Which model server.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelChoice {
    /// A model server on this machine: http://127.0.0.1:PORT or unix:/PATH.
    #[arg(long, env = "CLOSEDPAW_MODEL_URL", value_name = "URL")]
    pub model_url: Option<String>,
    /// The model's name at its server.
    #[arg(long, env = "CLOSEDPAW_MODEL", value_name = "NAME")]
    pub model: Option<String>,
}

/// Asks, and comes back when there is an answer, a failure, or the person has had enough.
pub async fn run(ask: Ask, daemon: &Daemon) -> Result<(), Failure> {
    let person = Person::of(daemon)?;
    let endpoints = endpoints::list(ask.model.model_url.as_deref(), ask.model.model.as_deref())?;
    let mut screen = Screen::new();
    let mut control = person.connect().await?;
    let mut agent = Agent::start(Some(daemon.dial()?))?;
    let key = ready(&mut agent).await?;
    let session = session::open(&mut control, &person, &ask.choice, key).await?;
    let events = watch(&person).await?;
    let job = Job {
        question: Some(ask.question),
        endpoints: endpoints.iter().map(Endpoint::place).collect(),
        session: Some(session.seat.clone()),
    };
    agent.tell(&ToAgent::Job(Box::new(job)), None).await;
    let mut conversation = Conversation {
        screen: &mut screen,
        control: &mut control,
        person: &person,
        endpoints,
        session: &session,
        events,
        owed: false,
        answered: BTreeSet::new(),
    };
    let result = tokio::select! {
        result = conversation.attend(&mut agent) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    };
    // The agent first: whatever it still wanted, nobody does it any more.
    drop(agent);
    control = session::still(control, &person, session.seat.session).await;
    screen.rest();
    screen.passage_end();
    let mut wrote = Wrote::Something;
    if !matches!(&result, Err(failure) if failure.exit == 130) {
        wrote = finish::changed(&mut control, &session, &mut screen).await;
    }
    finish::close(&mut control, &session, wrote).await;
    let log = finish::log_holds(&mut control, &person, &mut screen).await;
    result.and(log)
}

/// The agent's first word: that it is confined, and its key.
pub async fn ready(agent: &mut Agent) -> Result<KeyId, Failure> {
    match agent.next().await {
        Some(ToConsole::Ready(key)) => Ok(key),
        Some(ToConsole::Failed { cause, next, exit, .. }) => Err(Failure::new("agent", exit, cause, next)),
        Some(_) | None => {
            Err(Failure::new("agent", 70, "the agent ended before it was ready", "closedpawctl doctor"))
        }
    }
}

struct Conversation<'a> {
    screen: &'a mut Screen,
    control: &'a mut Connection,
    person: &'a Person,
    endpoints: Vec<Endpoint>,
    session: &'a Session,
    events: Events,
    /// The agent may have another connection to the daemon, because the one it had went with the daemon.
    owed: bool,
    /// Questions that were put; one that is open when the daemon is back may be heard of twice.
    answered: BTreeSet<ApprovalId>,
}

/// How the agent's failure ends if somebody stopped it: as by the signal of Ctrl-C.
const STOPPED: u8 = 130;

/// How long what the daemon tells may take.
const MOMENT: Duration = Duration::from_secs(1);

impl Conversation<'_> {
    async fn attend(&mut self, agent: &mut Agent) -> Result<(), Failure> {
        if !self.session.missing.is_empty() {
            self.screen.note(&format!("limits this host cannot give: {}", self.session.missing.join(", ")));
        }
        if let Some(began) = finish::began(self.session) {
            self.screen.note(&began);
        }
        self.screen.waiting("looking for a model");
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                message = agent.next() => match message {
                    Some(ToConsole::Done) => return Ok(()),
                    Some(ToConsole::Failed { cause, next, exit, .. }) => {
                        if exit == STOPPED {
                            self.why_stopped().await?;
                        }
                        return Err(Failure::new("no-answer", exit, cause, next));
                    }
                    Some(ToConsole::Dial(number)) => self.dial(number, agent).await,
                    Some(ToConsole::DialDaemon) => self.dial_daemon(agent).await?,
                    Some(message) => self.show(message),
                    None => {
                        return Err(Failure::new("agent", 70, "the agent ended without an answer", "closedpawctl doctor"));
                    }
                },
                event = self.events.recv() => match event {
                    Some(event) => self.event(event).await?,
                    None => self.rejoin().await?,
                },
                _ = tick.tick() => self.screen.tick(),
            }
        }
    }

    /// The agent has heard that everything was stopped; the console hears it on a connection of its own, maybe later.
    async fn why_stopped(&mut self) -> Result<(), Failure> {
        let halted = async {
            while let Some(event) = self.events.recv().await {
                if matches!(event, Event::Halted { on: true }) {
                    return Err(Refusal::from(ErrorCode::Halted).into());
                }
            }
            Ok(())
        };
        tokio::time::timeout(MOMENT, halted).await.unwrap_or(Ok(()))
    }

    /// Dials what is on the list; the agent names a place on it and never an address.
    async fn dial(&mut self, number: u32, agent: &Agent) {
        let endpoint = usize::try_from(number).ok().and_then(|number| self.endpoints.get(number));
        let dialled = match endpoint {
            Some(endpoint) => endpoint.dial(),
            None => Err(Undialled::NotAllowed),
        };
        match dialled {
            Ok(descriptor) => agent.tell(&ToAgent::Dialled(Ok(())), Some(&descriptor)).await,
            Err(why) => agent.tell(&ToAgent::Dialled(Err(why)), None).await,
        }
    }

    /// A daemon that was restarted has taken the session back, and waits for its console.
    async fn rejoin(&mut self) -> Result<(), Failure> {
        (*self.control, self.events) = session::rejoin(self.person, self.session.seat.session).await?;
        self.owed = true;
        Ok(())
    }

    /// The agent's own connection went with the daemon, too. It gets one for each that was lost, and none besides.
    async fn dial_daemon(&mut self, agent: &Agent) -> Result<(), Failure> {
        // A daemon that ends hangs up on one after the other: whether it is still there, only an answer tells.
        let there = self.control.request(&Request::Status, &[]).await;
        if matches!(there, Err(Unanswered::Lost(_) | Unanswered::Unasked(_))) {
            self.rejoin().await?;
        }
        let dialled = match self.owed {
            true => self.person.daemon.dial().map_err(|_| Undialled::Unreachable),
            false => Err(Undialled::NotAllowed),
        };
        self.owed &= dialled.is_err();
        match dialled {
            Ok(descriptor) => agent.tell(&ToAgent::Dialled(Ok(())), Some(&descriptor)).await,
            Err(why) => agent.tell(&ToAgent::Dialled(Err(why)), None).await,
        }
        Ok(())
    }

    fn show(&mut self, message: ToConsole) {
        match message {
            ToConsole::Model { label, name, embedded } => {
                let hint = if embedded {
                    "; a small fallback: start Ollama or name a --model-url for better answers"
                } else {
                    ""
                };
                self.screen.note(&format!("model: {} ({}{hint})", visible(&name), visible(&label)));
                self.screen.waiting("the model thinks");
            }
            ToConsole::Token(text) => self.screen.token(&text),
            ToConsole::PassageEnd => self.screen.passage_end(),
            ToConsole::Note(text) => {
                self.screen.remark(&text);
                self.screen.waiting("the model thinks");
            }
            ToConsole::Tool(text) => {
                self.screen.tool(&text);
                self.screen.waiting("the sandbox works");
            }
            ToConsole::Output(bytes) => self.screen.output(&bytes),
            ToConsole::ToolEnd { good, how } => {
                if !good {
                    self.screen.problem(&how);
                }
                self.screen.waiting("the model thinks");
            }
            // These are not for showing.
            ToConsole::Ready(_)
            | ToConsole::Dial(_)
            | ToConsole::DialDaemon
            | ToConsole::Done
            | ToConsole::Failed { .. } => {}
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Asked(question) if !self.answered.insert(question.id) => Ok(()),
            Event::Asked(question) if question.action.session == self.session.seat.session => {
                self.screen.rest();
                self.screen.passage_end();
                answer(self.control, *question, &mut self.events).await
            }
            Event::Denied { session, action, rule, why, .. } if session == self.session.seat.session => {
                let by = if rule.is_empty() {
                    "no rule allows it".to_owned()
                } else {
                    format!("the rule \"{rule}\" denies it")
                };
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.screen.problem(&format!("{} was denied, {by}{why}", action.effect.name()));
                Ok(())
            }
            Event::Closed { session } if session == self.session.seat.session => {
                Err(Failure::new("session-ended", 75, "the session was ended from elsewhere", "ask again"))
            }
            Event::Halted { on: true } => Err(Refusal::from(ErrorCode::Halted).into()),
            Event::Asked(_)
            | Event::Decided { .. }
            | Event::Denied { .. }
            | Event::Raised { .. }
            | Event::Ended { .. }
            | Event::Closed { .. }
            | Event::Policy { .. }
            | Event::Halted { .. } => Ok(()),
        }
    }
}

/// Asks the person and tells the daemon what was said, unless the question is over before anything is.
pub async fn answer(
    control: &mut Connection,
    question: Question,
    events: &mut Events,
) -> Result<(), Failure> {
    let asked = question.clone();
    let (tell, mut said) = tokio::sync::oneshot::channel();
    let (over, hang_up) =
        std::io::pipe().map_err(|error| Failure::new("pipe", 71, error.to_string(), "try again"))?;
    // A thread of its own: it waits for a person, and whoever stops everything does not wait for it.
    std::thread::spawn(move || tell.send(prompt::ask(&asked, &over)));
    let said = tokio::select! {
        said = &mut said => said.unwrap_or(Said::No),
        ended = events.end_of(&question) => {
            drop(hang_up);
            // The next question must not find this one still reading.
            let late = said.await.unwrap_or(Said::Nothing);
            if late == Said::Nothing {
                super::screen::err(&format!("({ended})\n"));
            }
            late
        }
    };
    if said == Said::Nothing {
        return Ok(());
    }
    let answer = Answer {
        id: question.id,
        digest: question.digest,
        revision: question.action.revision,
        granted: said == Said::Once,
    };
    match control.answer(&answer).await {
        Ok(_) => {}
        // Too late, or answered elsewhere: the daemon has decided already.
        Err(Unanswered::Refused(refusal)) => super::screen::err(&format!("! {refusal}\n")),
        // The question went with the daemon. Whatever still wants it done asks again.
        Err(Unanswered::Lost(_) | Unanswered::Unasked(_)) if said != Said::Stop => {
            super::screen::err("! the daemon went before it heard the answer\n");
        }
        Err(unanswered) => return Err(unanswered.into()),
    }
    if said == Said::Stop { Err(Failure::interrupted()) } else { Ok(()) }
}
