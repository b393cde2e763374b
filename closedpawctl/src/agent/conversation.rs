//! The conversation: questions in, tool calls out, answers back.
//!
//! Whatever the model says, this ends: turns, calls, bytes and tokens have their limits. What a tool gives is
//! wrapped before the model sees it, and a call is made only from a turn that is whole.
#![forbid(unsafe_code)]

mod asking;
mod budget;
mod error;
mod listen;
mod native;
mod room;
mod stepwise;
#[cfg(test)]
mod tests;

pub use self::error::AskError;

use self::asking::{Asking, Ports, Trouble};
use self::budget::Spent;
use self::room::Exchange;
use super::discover::{Mode, Model};
use super::limits::Limits;
use super::ports::{Dial, Hands, Note, Voice};
use super::wrap::{Boundary, defang};

/// One conversation with one model. Dropping an [`ask`](Self::ask) leaves it as it was before the question.
#[derive(Debug)]
pub struct Conversation {
    model: Model,
    boundary: Boundary,
    limits: Limits,
    history: Vec<Exchange>,
    spent: Spent,
}

/// The model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The model's words, raw. [`Voice::token`] has had them already.
    pub text: String,
    /// Tool calls that were made for it, understood or not.
    pub calls: usize,
    /// Of these, how many did not work, were denied, or were not understood.
    pub failed: usize,
    /// Whether the model was cut off at its length limit.
    pub cut: bool,
}

impl Conversation {
    /// A conversation without history. `random` is fresh randomness that no model has seen.
    pub fn new(model: Model, random: [u8; 16], limits: Limits) -> Self {
        let boundary = Boundary::new(random);
        Self { model, boundary, limits, history: Vec::new(), spent: Spent::default() }
    }

    /// The model that is asked.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Asks one question and goes on until the model has answered it.
    ///
    /// # Errors
    /// [`AskError`]. The question has left no trace then, and another one may be asked.
    pub async fn ask(
        &mut self,
        question: &str,
        dial: &mut impl Dial,
        hands: &mut impl Hands,
        voice: &mut impl Voice,
    ) -> Result<Answer, AskError> {
        self.spent.check(&self.limits)?;
        let question = defang(question);
        let ports = Ports { dial, hands, voice };
        let mut asking =
            Asking::new(&self.model, &self.boundary, &self.limits, &self.history, &mut self.spent, ports);
        let done = match self.model.mode {
            Mode::Steps => stepwise::ask(&mut asking, &question).await,
            Mode::Native => native::ask(&mut asking, &question).await,
        };
        let (answer, exchange) = match done {
            Ok(done) => done,
            Err(Trouble::Ask(error)) => return Err(error),
            Err(Trouble::NoTools(_)) => {
                asking.say(&Note::StepsInstead);
                let done = stepwise::ask(&mut asking, &question).await;
                self.model.mode = Mode::Steps;
                done.map_err(Trouble::into_ask)?
            }
        };
        self.history.push(exchange);
        Ok(answer)
    }
}
