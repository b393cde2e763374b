//! The multiplexed channel: yamux over a pair of pipes, and the frames on its streams.
#![forbid(unsafe_code)]

use closedpaw_protocol::stream::{self, BadFrame, Kind};
use std::io;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, Join};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

/// The most pieces of work at a time; the judge keeps to it.
pub const MAX_WORK: usize = 64;

/// The most streams at a time: some more than work takes, for the start gate, and for those that one side holds to be over and the
/// other not yet. One more ends the channel.
pub const MAX_STREAMS: usize = MAX_WORK + 16;

/// What the peer may send before it is read, over all streams: yamux's least, 256 KiB for each, and 8 MiB for those among them
/// that carry much while the other side takes long to answer.
const WINDOW: usize = MAX_STREAMS * 256 * 1024 + (8 << 20);

/// What is read from a pipe or written to it at a time, at most: a whole frame and its headers. Memory that is never touched is
/// never there, so whoever says little has little of it.
const BUFFER: usize = stream::MAX_PAYLOAD + 4096;

/// The same where little is expected.
const LITTLE: usize = 8 * 1024;

/// One stream, with tokio's traits.
pub type Stream = tokio_util::compat::Compat<yamux::Stream>;

/// Opens streams on a channel that [`drive`] runs.
#[derive(Clone)]
pub struct Opener(mpsc::Sender<oneshot::Sender<Stream>>);

impl Opener {
    /// A new stream, or `None` when the channel has ended.
    pub async fn open(&self) -> Option<Stream> {
        let (answer, stream) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        stream.await.ok()
    }
}

/// Which end of the channel this is.
pub use yamux::Mode;

/// Two pipes as one connection. Buffered, because yamux reads and writes a frame's header and its body by themselves,
/// and each call that the other side hears of wakes it.
type Pipes = tokio_util::compat::Compat<Join<BufReader<pipe::Receiver>, BufWriter<pipe::Sender>>>;

/// A channel over two pipes; ready to be driven.
pub struct Channel {
    connection: yamux::Connection<Pipes>,
    wanted: mpsc::Receiver<oneshot::Sender<Stream>>,
    waiting: Option<oneshot::Sender<Stream>>,
}

impl Channel {
    /// A channel that reads from one pipe and writes to the other.
    pub fn new(from: pipe::Receiver, to: pipe::Sender, mode: Mode) -> (Self, Opener) {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config.set_max_connection_receive_window(Some(WINDOW));
        // One of our frames is one of yamux's.
        config.set_split_send_size(BUFFER);
        let (ask, wanted) = mpsc::channel(MAX_STREAMS);
        // What comes out of a sandbox can be much; what goes in is orders, and here and there a file.
        let (reads, writes) = match mode {
            Mode::Client => (BUFFER, LITTLE),
            Mode::Server => (LITTLE, BUFFER / 2),
        };
        let pipes =
            tokio::io::join(BufReader::with_capacity(reads, from), BufWriter::with_capacity(writes, to));
        let connection = yamux::Connection::new(pipes.compat(), config, mode);
        (Self { connection, wanted, waiting: None }, Opener(ask))
    }

    /// Moves bytes until the channel ends. `accept` gets every stream that the peer opens and says whether it may.
    pub async fn drive(mut self, mut accept: impl FnMut(Stream) -> bool) {
        std::future::poll_fn(|context| {
            while self.poll_open(context).is_ready() {}
            loop {
                match self.connection.poll_next_inbound(context) {
                    Poll::Ready(Some(Ok(stream))) => {
                        if !accept(stream.compat()) {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    /// Ready when one wanted stream was opened.
    fn poll_open(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            match self.wanted.poll_recv(context) {
                Poll::Ready(Some(answer)) => self.waiting = Some(answer),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        let Poll::Ready(Ok(stream)) = self.connection.poll_new_outbound(context) else {
            return Poll::Pending;
        };
        if let Some(answer) = self.waiting.take() {
            // The asker may have gone; then the stream closes by being dropped.
            drop(answer.send(stream.compat()));
        }
        Poll::Ready(())
    }
}

/// Reads one frame; `None` at the end of the stream between two frames.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut header = [0; stream::HEADER];
    let (first, rest) = header.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(None);
    }
    from.read_exact(rest).await?;
    let (kind, length) = stream::parse_header(header).map_err(invalid)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

/// Writes one frame.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), kind: Kind, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(stream::HEADER + payload.len());
    frame.extend_from_slice(&stream::header(kind, payload).map_err(invalid)?);
    frame.extend_from_slice(payload);
    to.write_all(&frame).await?;
    to.flush().await
}

fn invalid(error: BadFrame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
