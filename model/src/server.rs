//! HTTP/1.1 on the one socket.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::Uid;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::chat::Request;
use crate::engine::{Event, Queue};
use crate::reply::{self, Answer, ApiError};

mod activity;

use activity::{Activity, Busy};

/// A conversation of a full context is far below this.
const MAX_BODY: usize = 4 << 20;
/// Connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// For a request's head, and again for its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every request needs.
struct Shared {
    queue: Queue,
    model: String,
    started: u64,
    answers: AtomicU64,
    activity: Activity,
    owner: Uid,
}

/// What the server is told once.
#[derive(Debug)]
pub struct Served {
    /// The running model.
    pub queue: Queue,
    /// Its id.
    pub model: String,
    /// Whose requests are answered. Asked before confinement, which leaves no call for it.
    pub owner: Uid,
    /// How long to wait for a request.
    pub idle: Duration,
}

/// Answers until there was no request for so long.
///
/// # Errors
/// The system gives no event queue, or the socket fails.
pub fn serve(listener: StdListener, served: Served) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let Served { queue, model, owner, idle } = served;
    let (activity, answers) = (Activity::default(), AtomicU64::new(0));
    let shared = Arc::new(Shared { queue, model, started: now(), answers, activity, owner });
    runtime.block_on(async { accept(&UnixListener::from_std(listener)?, &shared, idle).await })
}

async fn accept(listener: &UnixListener, shared: &Arc<Shared>, idle: Duration) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Some(left) = idle.checked_sub(shared.activity.quiet_for()) else { return Ok(()) };
        // A moment more than is left, so that the next look finds it over.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let Ok(accepted) = timeout(left + Duration::from_millis(1), next).await else { continue };
        let (stream, place) = accepted?;
        if !is_from(&stream, shared.owner) {
            continue;
        }
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            // How a connection ends is the client's business.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

/// The socket's mode says the same; an inherited socket may have been made with another.
fn is_from(stream: &UnixStream, owner: Uid) -> bool {
    let peer = stream.peer_cred().map(|peer| Uid::from_raw(peer.uid()));
    peer.is_ok_and(|peer| peer == owner || peer.is_root())
}

type Reply = Response<Either<Full<Bytes>, Stream>>;

async fn answer(shared: Arc<Shared>, request: HttpRequest<Incoming>) -> Result<Reply, Infallible> {
    let busy = shared.activity.begin();
    let reply = match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => json(StatusCode::OK, &reply::health()),
        (&Method::GET, "/v1/models") => {
            let models = reply::models(&shared.model, shared.started, shared.queue.context());
            json(StatusCode::OK, &models)
        }
        (&Method::POST, "/v1/chat/completions") => {
            complete(&shared, request, busy).await.unwrap_or_else(|refusal| refused(&refusal))
        }
        (_, "/health" | "/v1/models" | "/v1/chat/completions") => refused(&ApiError::method_not_allowed()),
        (_, _) => refused(&ApiError::not_found()),
    };
    Ok(reply)
}

async fn complete(shared: &Shared, request: HttpRequest<Incoming>, busy: Busy) -> Result<Reply, ApiError> {
    let body = timeout(PATIENCE, Limited::new(request.into_body(), MAX_BODY).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(ApiError::body_too_large(MAX_BODY));
        }
        Ok(Err(_)) | Err(_) => return Err(ApiError::body_incomplete()),
    };
    let request = Request::parse(&body)?;
    let (stream, stream_usage) = (request.stream, request.stream_usage);
    let number = shared.answers.fetch_add(1, Ordering::Relaxed);
    let id = format!("chatcmpl-{}-{number}", shared.started);
    let answer = Answer { id, created: now(), model: shared.model.clone() };
    let mut events = shared.queue.ask(request)?;
    match events.recv().await {
        Some(Event::Begun) if stream => Ok(streamed(answer, stream_usage, events, busy)),
        Some(Event::Begun) => whole(&answer, events).await,
        Some(Event::Refused(refusal) | Event::Failed(refusal)) => Err(refusal),
        Some(Event::Text(_) | Event::Done(..)) | None => Err(ended()),
    }
}

async fn whole(answer: &Answer, mut events: mpsc::Receiver<Event>) -> Result<Reply, ApiError> {
    let mut content = String::new();
    loop {
        match events.recv().await {
            Some(Event::Text(text)) => content += &text,
            Some(Event::Done(finish, usage)) => {
                return Ok(json(StatusCode::OK, &answer.whole(&content, finish, &usage)));
            }
            Some(Event::Failed(error) | Event::Refused(error)) => return Err(error),
            Some(Event::Begun) | None => return Err(ended()),
        }
    }
}

fn streamed(answer: Answer, usage: bool, events: mpsc::Receiver<Event>, busy: Busy) -> Reply {
    let first = Some(answer.begin());
    let stream = Stream { answer, usage, first, events, _busy: busy };
    let mut reply = Response::new(Either::Right(stream));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// A body that is written as the model speaks. When it is dropped, the model stops.
struct Stream {
    answer: Answer,
    usage: bool,
    first: Option<String>,
    events: mpsc::Receiver<Event>,
    _busy: Busy,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = match self.first.take() {
            Some(first) => Some(first),
            None => match self.events.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(event) => self.next(event),
            },
        };
        Poll::Ready(text.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

impl Stream {
    /// What to write for an event; nothing after the last.
    fn next(&mut self, event: Option<Event>) -> Option<String> {
        let last = match event? {
            Event::Text(text) => return Some(self.answer.text(&text)),
            Event::Done(finish, usage) => self.answer.end(finish, self.usage.then_some(&usage)),
            Event::Failed(error) | Event::Refused(error) => reply::event(&error.body()),
            Event::Begun => reply::event(&ended().body()),
        };
        self.events.close();
        Some(last)
    }
}

fn refused(refusal: &ApiError) -> Reply {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &refusal.body())
}

fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = Response::new(Either::Left(Full::from(value.to_string())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn ended() -> ApiError {
    ApiError::engine("the engine ended".into())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
