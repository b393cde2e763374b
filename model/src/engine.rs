//! llama.cpp in one thread of its own: a queue of requests in, events out.

#![forbid(unsafe_code)]

mod session;

use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::{io, thread};

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use tokio::sync::mpsc;

use crate::chat::Request;
use crate::error::Error;
use crate::reply::{ApiError, Finish, Usage};
use crate::weights::Verified;
use session::Session;

/// Requests that wait while one is answered.
pub const WAITING: usize = 8;

/// Tokens that are evaluated between two looks at whether the client is still there.
const STRIDE: u32 = 256;

/// What happens to a request, in this order: `Refused`, or `Begun`, `Text`… and `Done` or `Failed`.
#[derive(Debug)]
pub enum Event {
    /// It will be answered.
    Begun,
    /// It cannot be answered.
    Refused(ApiError),
    /// More of the answer.
    Text(String),
    /// All of it was sent.
    Done(Finish, Usage),
    /// llama.cpp failed in the middle.
    Failed(ApiError),
}

/// A request and the way back. A receiver that is dropped cancels it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) events: mpsc::Sender<Event>,
}

/// How the model is run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that evaluate the conversation.
    pub reading: i32,
    /// Threads that evaluate the answer, token by token.
    pub writing: i32,
    /// Tokens of conversation and answer together.
    pub context: NonZeroU32,
}

/// A model in memory.
#[derive(Debug)]
pub struct Engine {
    backend: LlamaBackend,
    model: LlamaModel,
    settings: Settings,
}

/// The door to the running model.
#[derive(Debug, Clone)]
pub struct Queue {
    jobs: SyncSender<Job>,
    context: usize,
}

impl Engine {
    /// Parses the weights, which were verified.
    ///
    /// # Errors
    /// llama.cpp does not take them, or there is no memory for them.
    pub fn load(weights: &Verified, settings: Settings) -> Result<Self, Error> {
        let failed = |reason: String| Error::WeightsLoad { path: weights.path().to_owned(), reason };
        let mut backend = LlamaBackend::init().map_err(|error| failed(error.to_string()))?;
        backend.void_logs();
        let model = LlamaModel::load_from_file(&backend, weights.path(), &LlamaModelParams::default())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { backend, model, settings })
    }

    /// Starts the thread, and returns when it is ready to answer.
    ///
    /// # Errors
    /// No thread, no memory for the context, or a vocabulary without ChatML's markers.
    pub fn start(self) -> io::Result<Queue> {
        let (jobs, waiting) = sync_channel(WAITING);
        let (ready, is_ready) = sync_channel(1);
        let context = self.settings.context.get() as usize;
        thread::Builder::new().name("engine".into()).spawn(move || self.run(&waiting, &ready))?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Queue { jobs, context }),
            Ok(Err(reason)) => Err(io::Error::other(reason)),
            Err(_) => Err(io::Error::other("the engine ended")),
        }
    }

    fn run(self, waiting: &Receiver<Job>, ready: &SyncSender<Result<(), String>>) {
        let parameters = LlamaContextParams::default()
            .with_n_ctx(Some(self.settings.context))
            .with_n_batch(STRIDE)
            .with_n_ubatch(STRIDE)
            .with_n_threads(self.settings.writing)
            .with_n_threads_batch(self.settings.reading);
        let session = self.model.new_context(&self.backend, parameters).map_err(|error| error.to_string());
        let mut session = match session.and_then(|context| Session::new(&self.model, context, STRIDE)) {
            Ok(session) => session,
            Err(reason) => return drop(ready.send(Err(reason))),
        };
        let _ = ready.send(Ok(()));
        for job in waiting {
            session.answer(job);
        }
    }
}

impl Queue {
    /// Puts a request in the queue.
    ///
    /// # Errors
    /// The queue is full.
    pub fn ask(&self, request: Request) -> Result<mpsc::Receiver<Event>, ApiError> {
        // Room for every token there can be: a client that reads slowly holds up nobody.
        let (events, answer) = mpsc::channel(self.context + 4);
        match self.jobs.try_send(Job { request, events }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(ApiError::busy(WAITING)),
            Err(TrySendError::Disconnected(_)) => Err(ApiError::engine("the engine ended".into())),
        }
    }

    /// Tokens of conversation and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }
}
