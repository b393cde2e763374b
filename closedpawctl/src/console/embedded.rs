//! The embedded default: started when it is dialled and nothing else was found, and left running for a while.
#![forbid(unsafe_code)]

use crate::places;
use crate::weights::{self, QWEN_0_5B};
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the program has until it listens; it listens before it loads.
const LISTEN: Duration = Duration::from_secs(5);

/// The program and its weights.
#[derive(Debug)]
pub struct Embedded {
    program: PathBuf,
    weights: PathBuf,
}

/// `closedpaw-model`, beside this program or in its `libexec`.
pub fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let folder = own.parent()?;
    let places = [folder.join("../libexec/closedpaw/closedpaw-model"), folder.join("closedpaw-model")];
    places.into_iter().find(|path| path.is_file())
}

impl Embedded {
    /// It, if its program is installed and its weights were fetched.
    pub fn find() -> Option<Self> {
        let weights = weights::path(&QWEN_0_5B);
        Some(Self { program: program()?, weights }).filter(|embedded| embedded.weights.is_file())
    }

    /// Connects; starts the program first where it does not run.
    pub fn dial(&self) -> io::Result<UnixStream> {
        let folder = places::runtime();
        places::private_folder(&folder)?;
        let socket = folder.join("model.sock");
        if let Ok(stream) = UnixStream::connect(&socket) {
            return Ok(stream);
        }
        self.start(&socket, &folder.join("model.log"))?;
        let end = Instant::now() + LISTEN;
        loop {
            match UnixStream::connect(&socket) {
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
                Ok(stream) => return Ok(stream),
            }
        }
    }

    fn start(&self, socket: &Path, log: &Path) -> io::Result<()> {
        let log = fs::File::create(log)?;
        let mut command = Command::new(&self.program);
        command.arg("--weights").arg(&self.weights).arg("--socket").arg(socket);
        // A process group of its own: the next question finds it loaded, and Ctrl-C here is not meant for it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        command.spawn().map(drop)
    }
}
