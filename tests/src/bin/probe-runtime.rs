//! Runtimes that are not what they say, for a test that pins one of them on purpose. What it does is its file's name.
//!
//! - `does-nothing`: says that all went well.
//! - `says-nothing`: something runs, but it is no sandbox and never speaks.
//! - `isolates-nothing`: starts what it is told to, right on the host.
//! - `without-systrap`: gVisor as it was before it had that, which is the true runtime beside it, refusing.
//! - `ponders-systrap`: the same, but it never comes to an answer.
//! - `dials-PORT`: dials that port of the loopback and the abstract socket of that name, says which run of it it is, and
//!   does nothing else.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    match run() {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

fn run() -> Option<()> {
    let own = fs::read_link("/proc/self/exe").ok()?;
    let words: Vec<String> = std::env::args().collect();
    let after = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).map(PathBuf::from);
    let starts = words.iter().any(|word| word == "run");
    if let Some(port) = own.file_name()?.to_str()?.strip_prefix("dials-") {
        dial(port, if starts { "run" } else { "delete" });
        return Some(());
    }
    if let Some(kind) = own.file_name()?.to_str()?.strip_suffix("-systrap") {
        return true_runtime(kind, &own.with_file_name("runsc"), &words);
    }
    if !starts {
        return Some(());
    }
    let (bundle, pid_file) = (after("--bundle")?, after("--pid-file")?);
    let mut command = match own.file_name()?.to_str()? {
        "does-nothing" => return Some(()),
        "says-nothing" => {
            let mut command = Command::new("/usr/bin/sleep");
            command.arg("120");
            command
        }
        "isolates-nothing" => {
            let config: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(bundle.join("config.json")).ok()?).ok()?;
            let word =
                |number: usize| config.pointer("/process/args")?.get(number)?.as_str().map(str::to_owned);
            let root = config.pointer("/root/path")?.as_str()?.to_owned();
            let mut command = Command::new(Path::new(&root).join("closedpaw/init"));
            command.args([word(1)?, word(2)?, word(3)?]).env_clear();
            command
        }
        _ => return None,
    };
    // Input and output are the channel, as a true runtime hands them on.
    let process = command.stderr(Stdio::null()).spawn().ok()?;
    fs::write(pid_file, process.id().to_string()).ok()
}

/// The true runtime, with all that it was told, unless that is to use systrap.
fn true_runtime(kind: &str, runtime: &Path, words: &[String]) -> Option<()> {
    if words.iter().any(|word| word == "--platform=systrap") {
        if kind == "without" {
            return None;
        }
        loop {
            std::thread::park();
        }
    }
    let _it_does_not_come_back = Command::new(runtime).args(words.get(1..)?).exec();
    None
}

/// What cannot be dialled is told by nobody's having heard of it.
fn dial(port: &str, word: &str) {
    if let Ok(mut tcp) = TcpStream::connect(format!("127.0.0.1:{port}")) {
        let _ = tcp.write_all(word.as_bytes());
    }
    let name = SocketAddr::from_abstract_name(format!("closedpaw-test-dials-{port}"));
    if let Ok(mut unix) = name.and_then(|name| UnixStream::connect_addr(&name)) {
        let _ = unix.write_all(word.as_bytes());
    }
}
