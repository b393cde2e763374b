//! The model servers the console will dial, and nothing else will be dialled.
#![forbid(unsafe_code)]

use super::embedded::Embedded;
use crate::failure::Failure;
use crate::link::{Place, Undialled};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// How long a loopback connection may take.
const DIAL: Duration = Duration::from_secs(2);

/// One server that may be dialled.
#[derive(Debug)]
pub struct Endpoint {
    place: Place,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Embedded(Embedded),
}

/// What the person chose, and otherwise what usually runs on a machine, in the order in which it is looked for.
pub fn list(url: Option<&str>, model: Option<&str>) -> Result<Vec<Endpoint>, Failure> {
    if let Some(url) = url {
        return Ok(vec![configured(url, model)?]);
    }
    let local = |port: u16, label: &str, kind: u8| Endpoint {
        place: Place {
            label: format!("{label} at 127.0.0.1:{port}"),
            kind,
            host: format!("127.0.0.1:{port}"),
            base: String::new(),
            model: model.map(str::to_owned),
            embedded: false,
        },
        way: Way::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
    };
    let mut endpoints = vec![
        local(11434, "Ollama", 1),
        local(8080, "llama-server", 2),
        local(1234, "LM Studio", 2),
        local(8000, "vLLM", 2),
    ];
    // A named model is looked for by name; the embedded one has only its own.
    if let Some(embedded) = Embedded::find() {
        let place = Place {
            label: "the embedded model".to_owned(),
            kind: 2,
            host: "localhost".to_owned(),
            base: String::new(),
            model: model.map(str::to_owned),
            embedded: true,
        };
        endpoints.push(Endpoint { place, way: Way::Embedded(embedded) });
    }
    Ok(endpoints)
}

/// A server by its URL: `http://127.0.0.1:PORT[/BASE]`, `http://localhost:PORT`, or `unix:PATH`.
fn configured(url: &str, model: Option<&str>) -> Result<Endpoint, Failure> {
    let wrong = |why: &str| {
        Failure::new(
            "model-url",
            64,
            format!("--model-url {url}: {why}"),
            "write http://127.0.0.1:PORT or unix:/PATH",
        )
    };
    let place = |host: &str, base: &str| Place {
        label: url.to_owned(),
        kind: 0,
        host: host.to_owned(),
        base: base.trim_end_matches('/').trim_end_matches("/v1").to_owned(),
        model: model.map(str::to_owned),
        embedded: false,
    };
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Endpoint { place: place("localhost", ""), way: Way::Unix(PathBuf::from(path)) });
    }
    let rest = url.strip_prefix("http://").ok_or_else(|| wrong("not an http or unix address"))?;
    let (host, base) =
        rest.split_once('/').map_or((rest, String::new()), |(host, base)| (host, format!("/{base}")));
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
    let port: u16 = port.parse().map_err(|_| wrong("the port is no number"))?;
    let address: IpAddr = match name.trim_matches(['[', ']']) {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        address => address.parse().map_err(|_| wrong("the host is not an address of this machine"))?,
    };
    if !address.is_loopback() {
        return Err(wrong(
            "that is another machine; a model there is a decision of policy, and none allows it",
        ));
    }
    Ok(Endpoint { place: place(host, &base), way: Way::Tcp(SocketAddr::new(address, port)) })
}

impl Endpoint {
    /// What the agent is told of it.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether dialling may take a while because something has to be started.
    pub fn is_embedded(&self) -> bool {
        self.place.embedded
    }

    /// Connects.
    pub fn dial(&self) -> Result<OwnedFd, Undialled> {
        let connected: io::Result<OwnedFd> = match &self.way {
            Way::Tcp(address) => TcpStream::connect_timeout(address, DIAL).map(OwnedFd::from),
            Way::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
            Way::Embedded(embedded) => embedded.dial().map(OwnedFd::from),
        };
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Undialled::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Undialled::TimedOut,
            _ => Undialled::Unreachable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_on_another_machine_is_not_dialled() {
        for url in [
            "http://192.168.1.5:11434",
            "http://example.org",
            "http://0.0.0.0:11434",
            "https://127.0.0.1",
            "ftp://x",
        ] {
            assert_eq!(list(Some(url), None).unwrap_err().code, "model-url", "{url}");
        }
        for url in ["http://127.0.0.1:11434", "http://localhost:8080/v1", "http://[::1]:1234/", "unix:/run/x"]
        {
            assert_eq!(list(Some(url), None).unwrap().len(), 1, "{url}");
        }
    }

    #[test]
    fn the_order_is_ollama_then_openai_servers() {
        let labels: Vec<String> = list(None, None).unwrap().iter().take(4).map(|e| e.place().label).collect();
        assert!(labels[0].starts_with("Ollama") && labels[1].contains(":8080"), "{labels:?}");
    }
}
