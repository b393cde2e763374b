//! What a console is told, on a connection of its own.
#![forbid(unsafe_code)]

use super::session::Person;
use crate::failure::Failure;
use closedpaw_protocol::message::{Event, Question, Request};
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// What a console is told.
pub struct Events {
    told: mpsc::UnboundedReceiver<Event>,
    /// What was heard while something else was waited for.
    held: VecDeque<Event>,
}

impl Events {
    /// As they come.
    pub fn new(told: mpsc::UnboundedReceiver<Event>) -> Self {
        Self { told, held: VecDeque::new() }
    }

    /// The next one, or none once the daemon has hung up. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        match self.held.pop_front() {
            Some(event) => Some(event),
            None => self.told.recv().await,
        }
    }

    /// Waits until a question is nobody's to answer any more: how that came about, in words. Everything that is heard meanwhile
    /// is there for whoever asks next. A daemon that hangs up ends nothing: the person may be in the middle of their answer.
    pub async fn end_of(&mut self, question: &Question) -> &'static str {
        while let Some(event) = self.told.recv().await {
            let ended = match &event {
                Event::Decided { id, granted } if *id == question.id => Some(if *granted {
                    "yes was said elsewhere"
                } else {
                    "no was said elsewhere, or nobody answered"
                }),
                Event::Closed { session } if *session == question.action.session => {
                    Some("its session has ended")
                }
                Event::Halted { on: true } => Some("everything was stopped"),
                _ => None,
            };
            self.held.push_back(event);
            if let Some(ended) = ended {
                return ended;
            }
        }
        std::future::pending().await
    }
}

/// Events for consoles, on a connection of their own, so that waiting for them never mixes with answers.
pub async fn watch(person: &Person) -> Result<Events, Failure> {
    Ok(Events::new(watch_on(person).await?.1))
}

/// The same, with a way to add to them. The events end with the connection, however many could still be added.
pub async fn watch_on(
    person: &Person,
) -> Result<(mpsc::WeakUnboundedSender<Event>, mpsc::UnboundedReceiver<Event>), Failure> {
    let mut connection = person.connect().await?;
    connection.request(&Request::Watch, &[]).await?;
    let (tell, events) = mpsc::unbounded_channel();
    let weak = tell.downgrade();
    tokio::task::spawn_local(async move {
        while let Ok(event) = connection.event().await {
            if tell.send(event).is_err() {
                return;
            }
        }
    });
    Ok((weak, events))
}
