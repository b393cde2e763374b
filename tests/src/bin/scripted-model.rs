//! A model server that does what a script file says: `scripted-model SCRIPT.json [PORT | SOCKET-PATH]`.
//!
//! It prints its port, or its socket's path, on standard output and runs until it is killed.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use closedpaw_tests::scripted::{Address, Script, Server};

fn main() -> ExitCode {
    match start() {
        Ok(server) => {
            server.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "scripted-model: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> io::Result<Server> {
    let mut words = std::env::args().skip(1);
    let usage = || io::Error::other("usage: scripted-model SCRIPT.json [PORT | SOCKET-PATH]");
    let script: Script = serde_json::from_str(&std::fs::read_to_string(words.next().ok_or_else(usage)?)?)?;
    let server = match words.next().unwrap_or_else(|| "0".to_owned()) {
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Server::on_port(script, port.parse().map_err(|_| usage())?)?
        }
        path => Server::on_socket(script, Path::new(&path))?,
    };
    match server.address() {
        Address::Tcp(address) => writeln!(io::stdout(), "{}", address.port())?,
        Address::Unix(path) => writeln!(io::stdout(), "{}", path.display())?,
    }
    Ok(server)
}
