//! One question while it is being answered: what both ways of driving tools have in common.
#![forbid(unsafe_code)]

use super::budget::{Counted, Spent};
use super::room::{Entry, Exchange, estimate, fit};
use super::{Answer, AskError, listen};
use crate::agent::chat::TurnError;
use crate::agent::discover::Model;
use crate::agent::limits::Limits;
use crate::agent::ports::{Dial, Hands, Note, ToolResult, Voice};
use crate::agent::steps;
use crate::agent::tools::{Tool, ToolCall};
use crate::agent::wire::request::{Chat, Form, Message};
use crate::agent::wire::turn::Turn;
use crate::agent::wrap::{Boundary, Cut, cut, defang};

/// The world outside, for one question.
pub(super) struct Ports<'a, D, H, V> {
    pub(super) dial: &'a mut D,
    pub(super) hands: &'a mut H,
    pub(super) voice: &'a mut V,
}

/// One question on its way.
pub(super) struct Asking<'a, D, H, V> {
    model: &'a Model,
    boundary: &'a Boundary,
    pub(super) limits: &'a Limits,
    history: &'a [Exchange],
    spent: &'a mut Spent,
    ports: Ports<'a, D, H, V>,
    pub(super) counted: Counted,
    told_dropped: usize,
    small: bool,
}

/// What ends a question, or only the way it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no answer.
    Ask(AskError),
    /// The server cannot do tool calls, and nothing has been done yet: schema steps may work.
    NoTools(AskError),
}

impl Trouble {
    pub(super) fn into_ask(self) -> AskError {
        match self {
            Self::Ask(error) | Self::NoTools(error) => error,
        }
    }
}

impl From<AskError> for Trouble {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

/// What a call came to, as the model is told it.
pub(super) struct Outcome {
    /// The whole text.
    pub(super) text: String,
    /// What may stand in its place when room is short.
    pub(super) stub: String,
}

impl<'a, D: Dial, H: Hands, V: Voice> Asking<'a, D, H, V> {
    pub(super) fn new(
        model: &'a Model,
        boundary: &'a Boundary,
        limits: &'a Limits,
        history: &'a [Exchange],
        spent: &'a mut Spent,
        ports: Ports<'a, D, H, V>,
    ) -> Self {
        Self {
            model,
            boundary,
            limits,
            history,
            spent,
            ports,
            counted: Counted::default(),
            told_dropped: 0,
            small: false,
        }
    }

    /// From now on results are made easy to read for a small model.
    pub(super) fn for_a_small_model(&mut self) {
        self.small = true;
    }

    pub(super) fn say(&mut self, note: &Note) {
        self.ports.voice.note(note);
    }

    /// Shows what the model said inside of something that is not shown.
    pub(super) fn show(&mut self, text: &str) {
        self.ports.voice.token(text);
        self.ports.voice.passage_end();
    }

    /// One turn of the model on what fits of the conversation.
    pub(super) async fn turn(
        &mut self,
        beginning: &[Message],
        current: &[Entry],
        form: Form<'_>,
    ) -> Result<Turn, Trouble> {
        self.spent.check(self.limits)?;
        let context = self.model.context;
        let answer_tokens = self.limits.answer_tokens.min(context / 4);
        let room = context.saturating_sub(answer_tokens).saturating_sub(form_cost(form));
        let fitted = fit(beginning, self.history, current, room, context)?;
        if fitted.dropped > self.told_dropped {
            self.told_dropped = fitted.dropped;
            self.say(&Note::HistoryDropped { exchanges: fitted.dropped });
        }
        let chat = Chat { model: &self.model.name, messages: &fitted.messages, form, context, answer_tokens };
        let ports = &mut self.ports;
        match listen::hear(ports.dial, ports.voice, self.model, &chat, self.limits).await {
            Ok(heard) => {
                self.spent.add(&heard);
                Ok(heard.turn)
            }
            Err(error) => {
                let tools = matches!(error, TurnError::NoTools { .. }) && matches!(form, Form::Tools(_));
                let error = AskError::of_turn(error, context);
                Err(if tools && self.counted.calls == 0 { Trouble::NoTools(error) } else { error.into() })
            }
        }
    }

    /// Makes one call, if it is one; its outcome is for the model.
    pub(super) async fn call(&mut self, name: &str, arguments: &str) -> Result<Outcome, AskError> {
        self.counted.call(self.limits.calls)?;
        let call = match ToolCall::parse(name, arguments) {
            Ok(call) => call,
            Err(bad) => {
                self.counted.failed += 1;
                self.say(&Note::BadCall { reason: bad.to_string() });
                return Ok(Outcome::short(defang(&format!("Error: {bad}."))));
            }
        };
        self.ports.voice.tool_start(&call);
        let result = self.ports.hands.call(&call).await;
        self.ports.voice.tool_end(&call, &result);
        self.outcome(call, result)
    }

    fn outcome(&mut self, call: ToolCall, result: ToolResult) -> Result<Outcome, AskError> {
        match result {
            ToolResult::Done { text } if self.small && call.tool() == Tool::ListFiles => {
                Ok(self.wrapped(&call, "", &steps::total_of_lines(&text)))
            }
            ToolResult::Done { text } => Ok(self.wrapped(&call, "", &text)),
            ToolResult::Failed { failure, text } => {
                self.counted.failed += 1;
                let outcome = self.wrapped(&call, &format!("It did not work: it {failure}.\n"), &text);
                self.say(&Note::ToolFailed { call, failure });
                Ok(outcome)
            }
            // A number and no more: what would be allowed is for the person to know.
            ToolResult::Denied { code } => {
                self.counted.failed += 1;
                Ok(Outcome::short(format!("denied (code {code})")))
            }
            ToolResult::Stopped => Err(AskError::Stopped),
            ToolResult::Lost => Err(AskError::HandsLost),
        }
    }

    /// A tool's output as the model sees it: cut to what it can hold, and marked as somebody else's words.
    fn wrapped(&mut self, call: &ToolCall, before: &str, text: &str) -> Outcome {
        let kept = cut_to(text, self.limits.tool_output, self.model.context / 4);
        if let Some((bytes, kept)) = kept.lost {
            self.say(&Note::OutputCut { bytes, kept });
        }
        let from = call.to_string();
        let text = if kept.text.trim().is_empty() { "(nothing)" } else { &kept.text };
        Outcome {
            text: format!("{before}{}", self.boundary.wrap(&from, text)),
            stub: format!("{before}{}", self.boundary.wrap(&from, "(left out to make room)")),
        }
    }

    pub(super) fn answer(&self, text: String, cut: bool) -> Answer {
        Answer { text, calls: self.counted.calls, failed: self.counted.failed, cut }
    }
}

/// Cuts a text to so many bytes and, by estimate, tokens: numbers take a token for each digit.
fn cut_to(text: &str, bytes: usize, tokens: u32) -> Cut {
    let kept = cut(text, bytes);
    let estimated = estimate(&kept.text);
    if estimated <= tokens {
        return kept;
    }
    let share = kept.text.len().saturating_mul(tokens as usize) / estimated as usize;
    cut(text, share.min(bytes))
}

/// Tokens that the tools take beside the messages.
fn form_cost(form: Form<'_>) -> u32 {
    match form {
        Form::Tools(tools) => {
            tools.iter().map(|tool| estimate(tool.schema()) + estimate(tool.description())).sum()
        }
        Form::Schema(_) | Form::Text => 0,
    }
}

impl Outcome {
    fn short(text: String) -> Self {
        Self { stub: text.clone(), text }
    }
}
