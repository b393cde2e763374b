//! `closedpaw-relay`: one per sandbox, outside it.
//!
//! Descriptor 3 is the control socket to the judge, 4 the sandbox's standard input, 5 its standard output. The relay
//! confines itself before it reads the first byte of any of them. When the sandbox goes, or nobody holds the
//! other end of its control socket any more (the judge, and the service manager for the next one), it goes.
#![forbid(unsafe_code)]

mod confine;
mod events;
mod work;

use crate::channel::{Channel, MAX_WORK, Mode, Opener, read_frame, write_frame};
use closedpaw_descriptors::Packets;
use closedpaw_descriptors::handover::take_over;
use closedpaw_protocol::relay::{GRANT, Gate, Grant, Record};
use closedpaw_protocol::stream::Kind;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;

/// How long the sandbox has to answer for the first time.
const START: Duration = Duration::from_secs(30);

/// How long work that a sandbox's end has ended may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Confines itself, says what it may still do, and serves until either side ends.
pub fn main() -> ExitCode {
    let descriptors = match inherited() {
        Ok(descriptors) => descriptors,
        Err(error) => return fail("descriptors", &error),
    };
    if let Err(error) = confine::confine() {
        return fail("confinement", &error);
    }
    say(&format!(
        "closedpaw-relay: uid {}, no capability, no file, no network, {} system calls",
        nix::unistd::getuid(),
        confine::CALLS.count()
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    match runtime.map(|runtime| tokio::task::LocalSet::new().block_on(&runtime, serve(descriptors))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => fail("channel", &error),
    }
}

fn inherited() -> std::io::Result<[OwnedFd; 3]> {
    Ok([take_over(3)?, take_over(4)?, take_over(5)?])
}

#[allow(clippy::print_stderr, reason = "the start-up line and the last words are this program's whole log")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn fail(what: &str, error: &dyn std::fmt::Display) -> ExitCode {
    say(&format!("closedpaw-relay: {what}: {error}"));
    ExitCode::FAILURE
}

async fn serve([control, to_sandbox, from_sandbox]: [OwnedFd; 3]) -> std::io::Result<()> {
    let control = Rc::new(Packets::new(control)?);
    let to = pipe::Sender::from_owned_fd(to_sandbox)?;
    let from = pipe::Receiver::from_owned_fd(from_sandbox)?;
    let (channel, opener) = Channel::new(from, to, Mode::Client);
    // Init may not open streams yet; one that does is hostile, and its channel ends.
    let channel = channel.drive(|_stream| false);
    let running = Rc::new(Semaphore::new(MAX_WORK));
    tokio::select! {
        () = channel => {
            // Each piece of work has its end to tell, and that it was for a limit.
            let all = running.acquire_many(u32::try_from(MAX_WORK).unwrap_or(u32::MAX));
            drop(tokio::time::timeout(LAST_WORDS, all).await);
            Err(std::io::Error::other("the sandbox has ended"))
        }
        result = judge(control, opener, &running) => result,
    }
}

/// Reports the start gate, then does as the judge grants.
async fn judge(control: Rc<Packets>, opener: Opener, running: &Rc<Semaphore>) -> std::io::Result<()> {
    let gate = tokio::select! {
        gate = tokio::time::timeout(START, gate(&opener)) => gate??,
        // Nothing is granted before the gate is known, so this is the judge's end.
        _ = control.receive::<GRANT>() => return Ok(()),
    };
    control.send(&Record::Gate(gate).to_bytes(), &[]).await?;
    while let Some((bytes, descriptors)) = control.receive::<GRANT>().await? {
        let grant = Grant::from_bytes(&bytes).map_err(std::io::Error::other)?;
        let permit = Rc::clone(running);
        let (control, opener) = (Rc::clone(&control), opener.clone());
        tokio::task::spawn_local(async move {
            let Ok(_place) = permit.acquire().await else { return };
            let work = work::Work::new(grant, descriptors, control);
            work.run(&opener).await;
        });
    }
    Ok(())
}

/// Asks init for its findings. What it says is checked for shape here and judged by the judge.
async fn gate(opener: &Opener) -> std::io::Result<Gate> {
    let ended = || std::io::Error::other("the sandbox gave no findings");
    let mut stream = opener.open().await.ok_or_else(ended)?;
    write_frame(&mut stream, Kind::Order, &[]).await?;
    match read_frame(&mut stream).await? {
        Some((Kind::Gate, bits)) => {
            let bits = <[u8; 4]>::try_from(bits.as_slice()).map_err(|_| ended())?;
            Ok(Gate(u32::from_be_bytes(bits)))
        }
        Some(_) | None => Err(ended()),
    }
}
