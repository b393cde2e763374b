//! Schema steps: one JSON object a turn, for models that cannot do tool calls of their own.
#![forbid(unsafe_code)]

use super::asking::{Asking, Trouble};
use super::room::{Entry, Exchange};
use super::{Answer, AskError};
use crate::agent::ports::{Dial, Hands, Note, Voice};
use crate::agent::steps::{self, Choice, Step};
use crate::agent::wire::request::{Form, Message};
use crate::agent::wire::turn::Turn;
use crate::agent::wrap::{defang, head};

/// Bytes of a step that is none which the model is shown again.
const MAX_BAD_STEP: usize = 200;

/// A tool first, then tools or the answer, and at the last step the answer whatever it is.
pub(super) async fn ask<D: Dial, H: Hands, V: Voice>(
    asking: &mut Asking<'_, D, H, V>,
    question: &str,
) -> Result<(Answer, Exchange), Trouble> {
    asking.for_a_small_model();
    let beginning = steps::beginning();
    let mut exchange: Exchange = vec![Message::User(steps::question(question)).into()];
    let steps = asking.limits.steps;
    let mut last = None;
    let mut must_answer = false;
    for number in 1..=steps {
        let choice = match number {
            n if must_answer || n == steps => Choice::Answer,
            1 => Choice::Tool,
            _ => Choice::Either,
        };
        let turn = asking.turn(&beginning, &exchange, Form::Schema(choice.schema())).await?;
        let said = match turn {
            Turn::Complete { text, .. } => text,
            Turn::Truncated { .. } => String::new(),
        };
        match steps::parse(&said) {
            Ok(Step::Answer(text)) if text.trim().is_empty() => return Err(AskError::NoAnswer.into()),
            Ok(Step::Answer(text)) => return Ok(finish(asking, question, text)),
            // The same call again would have the same result, and after it the same call would come.
            Ok(Step::Tool(call)) if last.as_ref() == Some(&call) => must_answer = true,
            Ok(Step::Tool(call)) => {
                let outcome = asking.call(&call.name, &call.arguments).await?;
                last = Some(call);
                exchange.push(assistant(defang(said.trim())));
                exchange.push(Entry {
                    message: Message::User(steps::result(question, &outcome.text)),
                    stub: Some(Message::User(steps::result(question, &outcome.stub))),
                });
            }
            Err(bad) => {
                asking.say(&Note::BadCall { reason: bad.to_string() });
                exchange.push(assistant(defang(head(said.trim(), MAX_BAD_STEP))));
                exchange.push(Message::User(steps::result(question, steps::NOT_A_STEP)).into());
            }
        }
    }
    Err(AskError::NoAnswer.into())
}

fn assistant(text: String) -> Entry {
    Message::Assistant { text, thinking: String::new(), calls: Vec::new() }.into()
}

/// Of an answered question only the question and the answer are kept: the rest would crowd out the next one.
fn finish<D: Dial, H: Hands, V: Voice>(
    asking: &mut Asking<'_, D, H, V>,
    question: &str,
    text: String,
) -> (Answer, Exchange) {
    let text = text.trim().to_owned();
    asking.show(&text);
    let exchange =
        vec![Message::User(steps::question(question)).into(), assistant(steps::answer(&defang(&text)))];
    (asking.answer(text, false), exchange)
}
