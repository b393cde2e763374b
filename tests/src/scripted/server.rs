//! The server itself: a thread that accepts, a thread a connection.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::http::{self, Connection, Request};
use super::script::{Fault, Format, Script, Turn};
use super::{faults, obey, ollama, openai};

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: Address,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On 127.0.0.1.
    Tcp(SocketAddr),
    /// On this socket.
    Unix(PathBuf),
}

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The JSON body, or null.
    pub body: Value,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    asked: usize,
    loading_left: usize,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If the system gives no port or no thread.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::on_port(script, 0)
    }

    /// Listens on this port of 127.0.0.1.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn on_port(script: Script, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = Address::Tcp(listener.local_addr()?);
        Self::on(script, Listener::Tcp(listener), address)
    }

    /// Listens on a Unix socket that it makes.
    ///
    /// # Errors
    /// If there is such a file, or it cannot be made.
    pub fn on_socket(script: Script, path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        Self::on(script, Listener::Unix(listener), Address::Unix(path.to_owned()))
    }

    fn on(script: Script, listener: Listener, address: Address) -> io::Result<Self> {
        let state = Mutex::new(State { loading_left: script.loading, ..State::default() });
        let shared = Arc::new(Shared { script, state, stop: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::Builder::new().spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The port, or 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(_) => 0,
        }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// The bodies of the chat requests so far.
    pub fn chats(&self) -> Vec<Value> {
        let chats = self.seen().into_iter().filter(|seen| is_chat(self.shared.script.format, &seen.path));
        chats.map(|seen| seen.body).collect()
    }

    /// Waits for its end, which never comes.
    pub fn run(mut self) {
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let woken = match &self.address {
            Address::Tcp(address) => TcpStream::connect(address).is_ok(),
            Address::Unix(path) => UnixStream::connect(path).is_ok() && std::fs::remove_file(path).is_ok(),
        };
        if let (true, Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_turn(&self) -> Option<Turn> {
        let mut state = self.state();
        let turns = &self.script.turns;
        let turn = turns.get(state.asked).or_else(|| turns.last().filter(|_| self.script.repeat));
        state.asked += 1;
        turn.cloned()
    }

    fn still_loading(&self) -> bool {
        let mut state = self.state();
        let loading = state.loading_left > 0;
        state.loading_left = state.loading_left.saturating_sub(1);
        loading
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    loop {
        let connection = match listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| {
                // Each piece is to arrive as it was sent.
                let _ = stream.set_nodelay(true);
                Connection::Tcp(stream)
            }),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Connection::Unix(stream)),
        };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut connection) = connection else { continue };
        let shared = Arc::clone(shared);
        // A client that hangs up early is what many tests are about.
        let _ = std::thread::Builder::new().spawn(move || serve(&mut connection, &shared).is_ok());
    }
}

fn is_chat(format: Format, path: &str) -> bool {
    match format {
        Format::Ollama => path == "/api/chat",
        Format::OpenAi => path == "/v1/chat/completions",
    }
}

fn serve(connection: &mut Connection, shared: &Shared) -> io::Result<()> {
    let Some(Request { method, path, headers, body }) = http::read_request(connection) else { return Ok(()) };
    shared.state().seen.push(Seen {
        method: method.clone(),
        path: path.clone(),
        headers,
        body: body.clone(),
    });
    if shared.still_loading() {
        let loading =
            json!({ "error": { "code": 503, "message": "Loading model", "type": "unavailable_error" } });
        return http::document(connection, 503, "application/json", &loading.to_string());
    }
    if method == "POST" && is_chat(shared.script.format, &path) {
        return chat(connection, shared, &body);
    }
    page(connection, shared, &method, &path, &body)
}

fn chat(connection: &mut Connection, shared: &Shared, body: &Value) -> io::Result<()> {
    let Some(turn) = shared.next_turn() else {
        let over = json!({ "error": "the script is over" });
        return http::document(connection, 500, "application/json", &over.to_string());
    };
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    let say = obey::settle(turn.say, body);
    faults::answer(connection, shared.script.format, model, &say, turn.fault.as_ref())
}

fn page(
    connection: &mut Connection,
    shared: &Shared,
    method: &str,
    path: &str,
    body: &Value,
) -> io::Result<()> {
    let script = &shared.script;
    if let Some(fault) = &script.fault {
        if faults::before_the_head(connection, fault)? {
            return Ok(());
        }
        if *fault == Fault::Stall {
            http::begin(connection, "application/json")?;
            connection.wait_for_hang_up(None);
            return Ok(());
        }
        if *fault == Fault::Garbage && path != "/api/version" {
            return http::document(connection, 200, "application/json", "this is not {json");
        }
    }
    let page = match script.format {
        Format::Ollama => ollama::page(&script.models, method, path, body),
        Format::OpenAi => openai::page(&script.models, method, path),
    };
    let (status, page) =
        page.unwrap_or((404, json!({ "error": { "code": 404, "message": "File Not Found" } })));
    http::document(connection, status, "application/json", &page.to_string())
}
