//! `closedpawctl watch`: what is asked, decided and stopped, as it happens, for as long as it runs.
//!
//! It is made to run in the background: a daemon that goes away, or is not there yet, is waited for.
#![forbid(unsafe_code)]

use super::{approvals, escaped};
use crate::client::{Connection, Daemon, Unanswered};
use crate::console::desktop::{self, Desktop};
use crate::console::notices::Notices;
use crate::console::session::Person;
use crate::console::{manager, prompt, screen};
use crate::failure::Failure;
use closedpaw_protocol::message::{Event, Question, Request};
use closedpaw_protocol::{ApprovalId, ErrorCode, Refusal};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// The first pause after a connection was lost; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(250);

/// The longest.
const LONGEST: Duration = Duration::from_secs(30);

/// How to be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Watch {
    /// On the desktop, too (needs notify-send): that something is asked, never what.
    #[arg(long)]
    pub notify: bool,
}

/// Watches until it is ended, or until something is wrong that waiting does not mend.
pub async fn run(watch: &Watch, daemon: &Daemon, as_json: bool) -> Result<(), Failure> {
    let no_signals = |error: std::io::Error| Failure::new("signals", 71, error.to_string(), "try again");
    let mut term = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    tokio::select! {
        failure = keep_watching(daemon, Teller::new(watch.notify, as_json)) => Err(failure),
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

async fn keep_watching(daemon: &Daemon, mut teller: Teller) -> Failure {
    let mut pauses = Pauses::default();
    loop {
        let began = Instant::now();
        let Err(failure) = connected(daemon, &mut teller).await;
        if !may_pass(&failure) {
            return failure;
        }
        teller.lost(&failure);
        sleep(pauses.after(began.elapsed())).await;
    }
}

/// Whether it may be otherwise by itself: no daemon yet, none any more, too much at once. Without a key that counts, or with
/// a daemon that is not the daemon, somebody has to do something first.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit, 69 | 75)
}

/// One connection, to its end, or until nobody reads what is said here: else it would run on unheard, and a service manager
/// that could mend that by a new start would not learn of it.
async fn connected(daemon: &Daemon, teller: &mut Teller) -> Result<Infallible, Failure> {
    // Read anew each time: the daemon may have a key since, and so may the person.
    let person = Person::of(daemon)?;
    let mut connection = person.connect().await?;
    // In this order, what is asked in between comes twice, and not never.
    connection.request(&Request::Watch, &[]).await?;
    teller.watching(&open_already(&mut connection).await?);
    while teller.read {
        tokio::select! {
            event = connection.event() => teller.event(event?),
            () = teller.notify() => {}
        }
    }
    Err(Failure::new("output", 74, "what is said cannot be written, or nobody reads it", "start it again"))
}

/// What is open already. Whoever asks much at once could make it longer than an answer may be, and must not end this by it.
async fn open_already(connection: &mut Connection) -> Result<Vec<Question>, Failure> {
    match approvals::questions(connection).await {
        Ok(questions) => Ok(questions),
        Err(Unanswered::Refused(Refusal { code: ErrorCode::TooLarge, .. })) => {
            screen::err("! more is open already than fits an answer; what is asked from now on is shown\n");
            Ok(Vec::new())
        }
        Err(unanswered) => Err(unanswered.into()),
    }
}

/// Says what happens: to standard output, to the desktop where that is wanted, to the service manager where there is one.
struct Teller {
    as_json: bool,
    notices: Notices,
    desktop: Option<Desktop>,
    /// The questions that were open when this connection began to watch; each may come as an event, too.
    listed: Vec<ApprovalId>,
    /// It was said that the daemon is away.
    away: bool,
    /// What was said last could be written.
    read: bool,
}

impl Teller {
    fn new(notify: bool, as_json: bool) -> Self {
        let desktop = if notify { Desktop::find() } else { None };
        if notify && desktop.is_none() {
            screen::err(&format!(
                "! {} is not in PATH, so questions are shown here alone (Debian: libnotify-bin)\n",
                desktop::PROGRAM
            ));
        }
        Self { as_json, notices: Notices::default(), desktop, listed: Vec::new(), away: false, read: true }
    }

    fn watching(&mut self, open: &[Question]) {
        self.away = false;
        self.listed = open.iter().map(|question| question.id).collect();
        self.say(&json!({ "event": "watching" }), || {
            let count = open.len();
            format!("watching; {count} {} open", if count == 1 { "question is" } else { "questions are" })
        });
        open.iter().for_each(|question| self.asked(question));
        manager::ready("watching");
    }

    /// The connection is lost, or there was none. Said once, however long it takes.
    fn lost(&mut self, failure: &Failure) {
        self.notices.none_open();
        if !std::mem::replace(&mut self.away, true) {
            let event = json!({ "event": "lost", "code": failure.code, "cause": failure.cause, "next": failure.next });
            self.say(&event, || format!("{failure}\nwatching goes on when the daemon is back"));
            manager::status("waiting for the daemon");
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Asked(question) if self.listed.contains(&question.id) => {}
            Event::Asked(question) => self.asked(&question),
            Event::Decided { id, granted } => {
                self.notices.over(id);
                let event = json!({ "event": "decided", "id": id.to_string(), "granted": granted });
                self.say(&event, || format!("decided {id}: {}", if granted { "yes, once" } else { "no" }));
            }
            Event::Halted { on } => self.say(&json!({ "event": "halted", "on": on }), || {
                let what = if on { "everything was stopped" } else { "work may go on again" };
                what.to_owned()
            }),
            // With it all open questions are gone; the decisions that follow say so of each to whoever asked it.
            Event::Policy { .. } => self.notices.none_open(),
            Event::Denied { .. } | Event::Raised { .. } | Event::Ended { .. } | Event::Closed { .. } => {}
        }
    }

    fn asked(&mut self, question: &Question) {
        let Some(block) = prompt::block(question) else {
            return screen::err("! a question whose digest is not that of what it shows was left out\n");
        };
        self.notices.asked(question);
        let mut event = approvals::fields(question);
        if let Some(fields) = event.as_object_mut() {
            fields.insert("event".to_owned(), "asked".into());
        }
        let (id, short) = (question.id, question.id.short());
        self.say_as_it_is(&event, || {
            format!("id {id}\n{block}\n└─ closedpawctl approvals approve {short}, or deny {short}")
        });
    }

    /// Tells the desktop when there is something to tell. Cancel-safe.
    async fn notify(&mut self) {
        let Some(desktop) = &mut self.desktop else { return std::future::pending().await };
        desktop.show(self.notices.next().await);
    }

    fn say(&mut self, event: &Value, text: impl FnOnce() -> String) {
        self.say_as_it_is(event, || screen::visible_lines(&text()));
    }

    /// With a text in which what others wrote is escaped already.
    fn say_as_it_is(&mut self, event: &Value, text: impl FnOnce() -> String) {
        let line = if self.as_json { escaped(&event.to_string()) } else { text() };
        self.read = screen::out(&format!("{line}\n"));
    }
}

/// The pauses between attempts. They grow, so that a daemon that does not come back is not asked for ever; they begin anew
/// only after a connection that lasted, so that one that hangs up at once is not asked at once.
struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pauses {
    fn after(&mut self, lasted: Duration) -> Duration {
        let pause = if lasted < LONGEST { self.next } else { FIRST };
        self.next = LONGEST.min(pause * 2);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_anew_after_a_connection_that_lasted() {
        let mut pauses = Pauses::default();
        let millis: Vec<_> = (0..9).map(|_| pauses.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(pauses.after(Duration::from_secs(30)).as_millis(), 250);
        assert_eq!(pauses.after(Duration::from_secs(29)).as_millis(), 500);
    }

    #[test]
    fn what_takes_somebody_to_mend_is_not_tried_again() {
        for passes in [ErrorCode::Busy, ErrorCode::TooManySessions] {
            assert!(may_pass(&Refusal::from(passes).into()), "{passes}");
        }
        assert!(may_pass(&Failure::unreachable("no socket")) && may_pass(&Failure::lost("it hung up")));
        for stays in [
            ErrorCode::UnknownKey,
            ErrorCode::KeyExpired,
            ErrorCode::KeyRole,
            ErrorCode::WrongUser,
            ErrorCode::Version,
            ErrorCode::BadSignature,
        ] {
            assert!(!may_pass(&Refusal::from(stays).into()), "{stays}");
        }
    }
}
