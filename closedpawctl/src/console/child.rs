//! The agent as a process of its own: this program again, with two descriptors and nothing else.
#![forbid(unsafe_code)]

use crate::failure::Failure;
use crate::link::{ToAgent, ToConsole};
use closedpaw_descriptors::frames::{FrameReader, FrameWriter, split};
use closedpaw_descriptors::{handover, stream_pair};
use closedpaw_protocol::codec;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc;

/// The hidden word on the command line.
pub const WORD: &str = "agent";

/// A running agent.
pub struct Agent {
    said: mpsc::Receiver<ToConsole>,
    writer: FrameWriter,
    process: Child,
}

impl Agent {
    /// Starts it, with a connection to the daemon that the console dialled.
    pub fn start(daemon: Option<OwnedFd>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new("agent", 71, format!("the agent does not start: {error}"), "try again")
        };
        let (ours, theirs) = stream_pair().map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(WORD).arg(if daemon.is_some() { "2" } else { "1" });
        // Nothing of the person's: no environment, no terminal.
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let handed = std::iter::once(theirs).chain(daemon).collect();
        handover::hand_over(&mut command, handed);
        handover::die_with_parent(&mut command);
        let process = command.spawn().map_err(failed)?;
        let (reader, writer) = split(ours).map_err(failed)?;
        let (tell, said) = mpsc::channel(64);
        tokio::task::spawn_local(listen(reader, tell));
        Ok(Self { said, writer, process })
    }

    /// What it says next; `None` when it has gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<ToConsole> {
        self.said.recv().await
    }

    /// Tells it something, with a descriptor where one belongs to it.
    pub async fn tell(&self, message: &ToAgent, with: Option<&OwnedFd>) {
        if let Some(frame) = codec::encode(message) {
            let with: Vec<_> = with.iter().map(AsFd::as_fd).collect();
            // An agent that has gone is noticed where it is listened to.
            drop(self.writer.write(&frame, &with).await);
        }
    }

    /// Its process, for tests that try to break out of it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

async fn listen(mut reader: FrameReader, tell: mpsc::Sender<ToConsole>) {
    while let Ok(Some(frame)) = reader.read().await {
        let Ok(message) = codec::decode(&frame.body) else { return };
        if tell.send(message).await.is_err() {
            return;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
