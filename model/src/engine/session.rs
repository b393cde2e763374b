//! One conversation after another on one context, whose memory of the last is kept.

#![forbid(unsafe_code)]

use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::json_schema_to_grammar;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use super::{Event, Job};
use crate::chat::Request;
use crate::prompt::render;
use crate::reply::{ApiError, Finish, Usage};
use crate::schema::Schema;
use crate::text::{Delta, Held};

mod sample;
mod tokens;

use sample::Sampler;
use tokens::Tokenizer;

/// The one sequence that is used.
const SEQUENCE: i32 = 0;

pub(super) struct Session<'model> {
    model: &'model LlamaModel,
    context: LlamaContext<'model>,
    tokenizer: Tokenizer<'model>,
    batch: LlamaBatch<'static>,
    stride: usize,
    /// Exactly what the context remembers, token for token.
    known: Vec<LlamaToken>,
}

/// Why an answer broke off.
enum Broken {
    /// Nobody waits for it any more.
    Cancelled,
    /// llama.cpp failed.
    Failed(String),
}

impl<'model> Session<'model> {
    pub(super) fn new(
        model: &'model LlamaModel,
        context: LlamaContext<'model>,
        stride: u32,
    ) -> Result<Self, String> {
        let stride = stride as usize;
        let tokenizer = Tokenizer::new(model)?;
        let batch = LlamaBatch::new(stride, 1);
        Ok(Self { model, context, tokenizer, batch, stride, known: Vec::new() })
    }

    /// Answers one request. The client sees every way in which this can end.
    pub(super) fn answer(&mut self, job: Job) {
        let Job { request, events } = job;
        if events.is_closed() {
            return;
        }
        let last = match self.prepare(&request) {
            Err(refusal) => Event::Refused(refusal),
            Ok((prompt, sampler)) => {
                let _ = events.try_send(Event::Begun);
                match self.generate(request, &prompt, sampler, &events) {
                    Ok((finish, usage)) => Event::Done(finish, usage),
                    Err(Broken::Cancelled) => return,
                    Err(Broken::Failed(reason)) => Event::Failed(ApiError::engine(reason)),
                }
            }
        };
        let _ = events.try_send(last);
    }

    /// All that can be refused, before anything is evaluated.
    fn prepare(&self, request: &Request) -> Result<(Vec<LlamaToken>, Sampler), ApiError> {
        let room = self.context.n_ctx() as usize;
        let prompt = self.tokenizer.tokens(&render(&request.messages), room);
        // The answer needs a place as well.
        let prompt = prompt.filter(|prompt| prompt.len() < room);
        let prompt = prompt.ok_or_else(|| ApiError::context_length_exceeded(room))?;
        let grammar = request.schema.as_ref().map(|schema| self.grammar(schema)).transpose()?;
        Ok((prompt, Sampler::new(grammar, request.temperature, request.seed)))
    }

    fn grammar(&self, schema: &Schema) -> Result<LlamaSampler, ApiError> {
        let refused = |error: String| ApiError::schema(format!("no grammar for this schema: {error}"));
        let grammar = json_schema_to_grammar(schema.as_str()).map_err(|error| refused(error.to_string()))?;
        LlamaSampler::grammar(self.model, &grammar, "root").map_err(|error| refused(error.to_string()))
    }

    fn generate(
        &mut self,
        request: Request,
        prompt: &[LlamaToken],
        mut sampler: Sampler,
        events: &tokio::sync::mpsc::Sender<Event>,
    ) -> Result<(Finish, Usage), Broken> {
        let begun = Instant::now();
        let cached = self.reuse(prompt)?;
        self.evaluate(prompt.get(cached..).unwrap_or_default(), || events.is_closed())?;
        let mut usage =
            Usage { prompt: prompt.len(), cached, prompt_ms: milliseconds(begun), ..Usage::default() };
        let begun = Instant::now();
        let limit = request.max_tokens.map_or(usize::MAX, |limit| limit as usize);
        let mut held = Held::new(request.stop);
        let finish = loop {
            let token = sampler.next(&self.context).map_err(Broken::Failed)?;
            usage.completion += 1;
            if self.tokenizer.ends(token) {
                break Finish::Stop;
            }
            let (text, stopped) = match held.push(&self.tokenizer.bytes(token)) {
                Delta::Text(text) => (text, false),
                Delta::Stopped(text) => (text, true),
            };
            send(events, text)?;
            if stopped {
                // What is held ends with the answer.
                held = Held::default();
                break Finish::Stop;
            }
            if usage.completion >= limit || self.known.len() >= self.context.n_ctx() as usize {
                break Finish::Length;
            }
            self.evaluate(&[token], || events.is_closed())?;
        };
        send(events, held.finish())?;
        usage.completion_ms = milliseconds(begun);
        Ok((finish, usage))
    }

    /// Keeps what the context knows of this prompt already, forgets the rest, and says how much it
    /// kept. The last token is always evaluated again: what follows it is what is wanted.
    fn reuse(&mut self, prompt: &[LlamaToken]) -> Result<usize, Broken> {
        let same = self.known.iter().zip(prompt).take_while(|(known, new)| known == new).count();
        let kept = same.min(prompt.len().saturating_sub(1));
        self.forget(kept)?;
        Ok(kept)
    }

    fn forget(&mut self, kept: usize) -> Result<(), Broken> {
        let failed = |error: &dyn std::fmt::Display| Broken::Failed(error.to_string());
        let from = u32::try_from(kept).map_err(|error| failed(&error))?;
        self.known.truncate(kept);
        self.context.kv_cache_seq_rm(SEQUENCE, Some(from), None).map_err(|error| failed(&error))
    }

    /// Evaluates tokens after those that are known, and leaves the scores for what follows the last.
    fn evaluate(&mut self, tokens: &[LlamaToken], cancelled: impl Fn() -> bool) -> Result<(), Broken> {
        for part in tokens.chunks(self.stride) {
            if cancelled() {
                return Err(Broken::Cancelled);
            }
            if let Err(reason) = self.decode(part) {
                // What the context knows now is anyone's guess.
                self.forget(0)?;
                return Err(Broken::Failed(reason));
            }
            self.known.extend_from_slice(part);
        }
        Ok(())
    }

    fn decode(&mut self, part: &[LlamaToken]) -> Result<(), String> {
        self.batch.clear();
        for (position, token) in (self.known.len()..).zip(part) {
            let last = position + 1 == self.known.len() + part.len();
            let position = i32::try_from(position).map_err(|error| error.to_string())?;
            self.batch.add(*token, position, &[SEQUENCE], last).map_err(|error| error.to_string())?;
        }
        self.context.decode(&mut self.batch).map_err(|error| error.to_string())
    }
}

fn send(events: &tokio::sync::mpsc::Sender<Event>, text: String) -> Result<(), Broken> {
    if text.is_empty() {
        return if events.is_closed() { Err(Broken::Cancelled) } else { Ok(()) };
    }
    events.try_send(Event::Text(text)).map_err(|_| Broken::Cancelled)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
