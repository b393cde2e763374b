//! One HTTP request over a stream that was dialled for it: every wait and every size has an end.
//!
//! Nothing runs in the background: the connection moves only while its response is polled, and dropping the
//! response closes it, which tells a model server to stop working.
#![forbid(unsafe_code)]

mod io;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use tokio::time::{Instant, timeout_at};

use self::io::Io;
use super::ports::{BoxStream, Dial, DialError};

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// The path, base path included.
    pub path: &'a str,
    /// A JSON body, and with it a POST; else a GET.
    pub body: Option<&'a str>,
}

/// How long the response may take.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Until its head.
    pub head: Duration,
    /// Between two pieces of its body.
    pub idle: Duration,
    /// In all.
    pub whole: Duration,
}

/// Why there is no response, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("there is no connection")]
    Dial(DialError),
    /// It takes too long.
    #[error("it takes too long {0}")]
    Slow(Stage),
    /// The connection was closed before the head was there.
    #[error("it hung up without an answer")]
    HungUp,
    /// The body ended before it was whole.
    #[error("it hung up in the middle of its answer")]
    CutOff,
    /// What came is not HTTP, or a head without end.
    #[error("it does not speak HTTP")]
    NotHttp,
    /// The body is larger than it may be.
    #[error("it sends more than it may")]
    TooLarge,
    /// The endpoint's host or path cannot stand in a request: correct the configuration.
    #[error("its address cannot stand in a request")]
    BadEndpoint,
}

/// Where time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Connecting.
    Connect,
    /// Waiting for the head of the response.
    Head,
    /// Waiting for the next piece.
    Idle,
    /// The response as a whole.
    Whole,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "to connect",
            Self::Head => "to begin its answer",
            Self::Idle => "in the middle of its answer",
            Self::Whole => "to come to an end",
        })
    }
}

/// What the body claims to be. A hint for choosing a parser, and a sign of a server that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `text/event-stream`
    Events,
    /// One JSON object a line.
    Lines,
    /// One JSON document.
    Json,
    /// Nothing, plain text or bytes: worth a try.
    Unsaid,
    /// Anything else, such as a web page.
    Other,
}

/// A response whose body has not been read yet.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// What the body claims to be.
    pub media: Media,
    body: Incoming,
    driver: Driver,
    idle: Duration,
    deadline: Instant,
}

/// Header lines of a response.
const MAX_HEADERS: usize = 64;
/// Bytes of a response's head; also the size of hyper's buffer.
const MAX_HEAD: usize = 64 << 10;

/// Dials within the time for it.
pub async fn connect(
    dial: &mut impl Dial,
    endpoint: usize,
    within: Duration,
) -> Result<BoxStream, HttpError> {
    match tokio::time::timeout(within, dial.dial(endpoint)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(DialError::TimedOut)) | Err(_) => Err(HttpError::Slow(Stage::Connect)),
        Ok(Err(error)) => Err(HttpError::Dial(error)),
    }
}

/// Sends the request and waits for the head of the response.
pub async fn send(stream: BoxStream, request: &Request<'_>, waits: &Waits) -> Result<Response, HttpError> {
    let deadline = Instant::now() + waits.whole;
    let request = build(request)?;
    let head = async {
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_HEAD)
            .handshake(Io(stream))
            .await
            .map_err(|error| head_error(&error))?;
        let mut driver = Driver(Some(Box::pin(connection)));
        let response = driver.alongside(sender.send_request(request)).await;
        response.map(|response| (response, driver)).map_err(|error| head_error(&error))
    };
    let head_by = deadline.min(Instant::now() + waits.head);
    let (response, driver) = timeout_at(head_by, head).await.map_err(|_| HttpError::Slow(Stage::Head))??;
    let media = response.headers().get(hyper::header::CONTENT_TYPE).map_or(Media::Unsaid, media);
    Ok(Response {
        status: response.status().as_u16(),
        media,
        body: response.into_body(),
        driver,
        idle: waits.idle,
        deadline,
    })
}

impl Response {
    /// The next piece of the body, or none at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        let idle_by = Instant::now() + self.idle;
        let (by, stage) =
            if self.deadline < idle_by { (self.deadline, Stage::Whole) } else { (idle_by, Stage::Idle) };
        // A trickle that is always ready never lets the timer fire.
        if self.deadline <= Instant::now() {
            return Err(HttpError::Slow(Stage::Whole));
        }
        loop {
            let body = &mut self.body;
            let frame = self.driver.alongside(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
            match timeout_at(by, frame).await {
                Err(_) => return Err(HttpError::Slow(stage)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(body_error(&error)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
            }
        }
    }

    /// The whole body, if it is no larger than this.
    pub async fn document(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len().saturating_add(piece.len()) > limit {
                return Err(HttpError::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

fn build(request: &Request<'_>) -> Result<hyper::Request<String>, HttpError> {
    let method = if request.body.is_some() { hyper::Method::POST } else { hyper::Method::GET };
    let mut builder = hyper::Request::builder()
        .method(method)
        .uri(request.path)
        .header(hyper::header::HOST, request.host)
        .header(hyper::header::ACCEPT, "application/json, application/x-ndjson, text/event-stream")
        .header(hyper::header::CONNECTION, "close");
    if request.body.is_some() {
        builder = builder.header(hyper::header::CONTENT_TYPE, "application/json");
    }
    builder.body(request.body.unwrap_or_default().to_owned()).map_err(|_| HttpError::BadEndpoint)
}

fn media(value: &hyper::header::HeaderValue) -> Media {
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => Media::Events,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Media::Lines,
        "application/json" => Media::Json,
        "" | "text/plain" | "application/octet-stream" => Media::Unsaid,
        _ => Media::Other,
    }
}

fn head_error(error: &hyper::Error) -> HttpError {
    if error.is_parse() { HttpError::NotHttp } else { HttpError::HungUp }
}

fn body_error(error: &hyper::Error) -> HttpError {
    if error.is_parse() { HttpError::NotHttp } else { HttpError::CutOff }
}

/// Moves the connection whenever what waits for it is polled, in place of a task of its own.
struct Driver(Option<Pin<Box<http1::Connection<Io, String>>>>);

impl Driver {
    async fn alongside<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        poll_fn(|cx| {
            self.advance(cx);
            let done = work.as_mut().poll(cx);
            // The work may have made room that the connection waits for.
            if done.is_pending() {
                self.advance(cx);
            }
            done
        })
        .await
    }

    /// How it ends, the work is told by hyper.
    fn advance(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && let Poll::Ready(_) = connection.as_mut().poll(cx)
        {
            self.0 = None;
        }
    }
}
