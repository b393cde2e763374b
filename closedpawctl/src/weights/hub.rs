//! Hugging Face over HTTPS, resumed by range.
//!
//! Done with a library and not by driving `curl`: errors keep their type, progress needs no parsing,
//! and a minimal system has no `curl`.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::error::{Reason, at};
use super::{Progress, Stage, Weights};

const CONNECT: Duration = Duration::from_secs(5);
/// A server that says nothing for so long has stalled.
const SILENCE: Duration = Duration::from_secs(30);

/// Downloads into `part`, going on where an earlier download ended. A connection that breaks after
/// it brought something is taken up again; one that brought nothing ends the attempt.
pub(super) fn download(
    weights: &Weights,
    address: &str,
    part: &Path,
    source: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    let agent = agent(address.starts_with("https://"));
    let hub = weights.hub;
    let url = format!("{address}/{}/resolve/{}/{}", hub.repository, hub.revision, hub.file);
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(at(part))?;
    let mut best = length(&file, part)?;
    if best > weights.bytes {
        file.set_len(0).map_err(at(part))?;
        best = 0;
    }
    while best < weights.bytes {
        let attempt = receive(weights, &agent, &url, &mut file, part, source, progress);
        let now = length(&file, part)?;
        match attempt {
            Ok(()) if now == weights.bytes => break,
            Err(broken) if now <= best => return Err(broken),
            Ok(()) if now <= best => return Err(Reason::Size { expected: weights.bytes, found: now }),
            Ok(()) | Err(_) => best = now,
        }
    }
    Ok(())
}

/// One request, from where the part ends.
fn receive(
    weights: &Weights,
    agent: &Agent,
    url: &str,
    file: &mut File,
    part: &Path,
    source: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    let have = length(file, part)?;
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(broken)?;
    let mut done = begins_at(&response, have, weights.bytes)?;
    if done == 0 {
        file.set_len(0).map_err(at(part))?;
    }
    // One byte more than wanted is read, so that a longer body is seen and not cut to size.
    let mut body = response.into_body().into_reader().take(weights.bytes - done + 1);
    let mut chunk = vec![0; 256 << 10];
    loop {
        let read = body.read(&mut chunk).map_err(|error| Reason::Connection(error.to_string()))?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        done += bytes.len() as u64;
        if done > weights.bytes {
            file.set_len(0).map_err(at(part))?;
            return Err(Reason::Size { expected: weights.bytes, found: done });
        }
        file.write_all(bytes).map_err(at(part))?;
        progress(Progress { source, stage: Stage::Receiving, done, total: weights.bytes });
    }
}

/// Where in the file the body of this answer begins. A size other than the pin's is refused before
/// a byte of the body: it is some other file, or the page of a captive portal.
fn begins_at(response: &Response<Body>, have: u64, expected: u64) -> Result<u64, Reason> {
    match response.status() {
        StatusCode::OK => match response.body().content_length() {
            Some(found) if found != expected => Err(Reason::Size { expected, found }),
            Some(_) | None => Ok(0),
        },
        StatusCode::PARTIAL_CONTENT => match content_range(response) {
            Some((start, total)) if start == have && total == expected => Ok(have),
            Some((_, found)) => Err(Reason::Size { expected, found }),
            None => Err(Reason::Status(206)),
        },
        other => Err(Reason::Status(other.as_u16())),
    }
}

/// `bytes START-END/TOTAL` (RFC 9110, 14.4).
fn content_range(response: &Response<Body>) -> Option<(u64, u64)> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

fn length(file: &File, part: &Path) -> Result<u64, Reason> {
    Ok(file.metadata().map_err(at(part))?.len())
}

/// The system's certificates, because an admin may have added one; no step down from HTTPS.
fn agent(https_only: bool) -> Agent {
    Agent::config_builder()
        .https_only(https_only)
        .http_status_as_error(false)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .user_agent(concat!("closedpawctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn broken(error: ureq::Error) -> Reason {
    Reason::Connection(error.to_string())
}
