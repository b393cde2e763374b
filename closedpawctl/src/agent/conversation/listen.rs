//! Asking for a turn, and again where that may help, while the person sees what is for them.
#![forbid(unsafe_code)]

use tokio::time::{Instant, sleep};

use crate::agent::chat::{self, Heard, TurnError};
use crate::agent::discover::Model;
use crate::agent::limits::Limits;
use crate::agent::ports::{Dial, Note, Voice};
use crate::agent::rescue;
use crate::agent::wire::Event;
use crate::agent::wire::request::{Chat, Form};

/// How often a request that broke off is sent again. Loading has a bound in time instead.
const RETRIES: usize = 2;

/// One turn; asked for again only while the person has seen nothing of it.
pub(super) async fn hear(
    dial: &mut impl Dial,
    voice: &mut impl Voice,
    model: &Model,
    chat: &Chat<'_>,
    limits: &Limits,
) -> Result<Heard, TurnError> {
    let until = Instant::now() + limits.timeouts.loading;
    let mut retries = 0;
    let mut told = false;
    loop {
        let mut passage = Passage::new(voice, chat.form);
        let error = match chat::turn(dial, model, chat, limits, |event| passage.see(event)).await {
            Ok(heard) => {
                passage.end(&heard);
                return Ok(heard);
            }
            Err(error) => error,
        };
        let shown = passage.broken();
        let loading = error == TurnError::Loading;
        let again = if loading { Instant::now() < until } else { error.retryable() && retries < RETRIES };
        if shown || !again {
            return Err(error);
        }
        if !loading {
            retries += 1;
            voice.note(&Note::Retrying);
        } else if !std::mem::replace(&mut told, true) {
            voice.note(&Note::Loading { label: model.label().to_owned() });
        }
        sleep(limits.timeouts.pause).await;
    }
}

/// What of a turn is shown while it arrives. A step is an object for the agent: nothing of it is. A text that
/// may turn out to be a call is held back until its end.
struct Passage<'a, V> {
    voice: &'a mut V,
    state: Showing,
    held: String,
    shown: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Showing {
    Nothing,
    NotYet,
    All,
}

impl<'a, V: Voice> Passage<'a, V> {
    fn new(voice: &'a mut V, form: Form<'_>) -> Self {
        let state = match form {
            Form::Tools(_) => Showing::NotYet,
            Form::Schema(_) => Showing::Nothing,
            Form::Text => Showing::All,
        };
        Self { voice, state, held: String::new(), shown: false }
    }

    fn see(&mut self, event: &Event) {
        match event {
            Event::Text(piece) => self.text(piece),
            Event::Thinking(piece) => self.voice.thinking(piece),
            Event::ToolStart { .. }
            | Event::ToolArgs { .. }
            | Event::ToolEnd { .. }
            | Event::Usage(_)
            | Event::Done(_)
            | Event::Error(_) => {}
        }
    }

    fn text(&mut self, piece: &str) {
        match self.state {
            Showing::Nothing => {}
            Showing::All => self.show(piece),
            Showing::NotYet => {
                // Once it begins like a call, no piece can change that; so it is not looked at again.
                let undecided = self.held.len() < LONGEST_MARK;
                self.held.push_str(if self.held.is_empty() { piece.trim_start() } else { piece });
                if undecided && !rescue::may_be_calls(&self.held) {
                    self.state = Showing::All;
                    let held = std::mem::take(&mut self.held);
                    self.show(&held);
                }
            }
        }
    }

    fn show(&mut self, piece: &str) {
        self.shown = true;
        self.voice.token(piece);
    }

    /// The turn is whole: what was held back was no call, or there would be no need to hold it.
    fn end(mut self, heard: &Heard) {
        let held = std::mem::take(&mut self.held);
        if !held.trim().is_empty() && super::native::calls_of(&heard.turn).is_empty() {
            self.show(&held);
        }
        if self.shown {
            self.voice.passage_end();
        }
    }

    /// The turn broke off; whether the person has seen any of it.
    fn broken(self) -> bool {
        if self.shown {
            self.voice.passage_end();
        }
        self.shown
    }
}

/// Bytes after which a text is known to begin like a call or not.
const LONGEST_MARK: usize = "<tool_call>".len();
