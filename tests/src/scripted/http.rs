//! As much of HTTP/1.1 as a scripted server needs, and nothing that would repair what its script breaks.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// A client's connection.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A request as it came.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    /// Null if there is none or it is no JSON.
    pub(super) body: Value,
}

const MAX_REQUEST: usize = 16 << 20;

impl Connection {
    /// Waits until the client hangs up, or for so long.
    pub(super) fn wait_for_hang_up(&mut self, at_most: Option<Duration>) {
        let set = match self {
            Self::Tcp(stream) => stream.set_read_timeout(at_most),
            Self::Unix(stream) => stream.set_read_timeout(at_most),
        };
        let mut byte = [0];
        while set.is_ok() && matches!(self.read(&mut byte), Ok(1)) {}
    }
}

impl Read for Connection {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(to),
            Self::Unix(stream) => stream.read(to),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// Reads one request; none if the client hung up or does not speak HTTP.
pub(super) fn read_request(connection: &mut Connection) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(connection, &mut bytes)?;
    };
    let head = String::from_utf8(bytes.get(..head_end)?.to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let body_end = head_end.checked_add(4)?.checked_add(length)?;
    while bytes.len() < body_end {
        more(connection, &mut bytes)?;
    }
    let body = serde_json::from_slice(bytes.get(head_end + 4..body_end)?).unwrap_or(Value::Null);
    Some(Request { method, path, headers, body })
}

fn more(connection: &mut Connection, bytes: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 8192];
    let read = connection.read(&mut buffer).ok().filter(|read| *read > 0)?;
    bytes.extend_from_slice(buffer.get(..read)?);
    (bytes.len() <= MAX_REQUEST).then_some(())
}

/// A whole response.
pub(super) fn document(connection: &mut Connection, status: u16, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The head of a response that comes in chunks.
pub(super) fn begin(connection: &mut Connection, kind: &str) -> io::Result<()> {
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
}

/// One chunk, sent at once.
pub(super) fn chunk(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    connection.write_all(&chunk)?;
    connection.flush()
}

/// The end of the chunks.
pub(super) fn end(connection: &mut Connection) -> io::Result<()> {
    connection.write_all(b"0\r\n\r\n")
}
