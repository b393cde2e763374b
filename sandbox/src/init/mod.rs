//! `closedpaw-init`: process 1 of every sandbox.
//!
//! It looks around first (the start gate), then starts, signals and waits for what the relay orders, each as the
//! caller's uid. Standard input and output are the channel; it has no other way to the outside and holds no secret.
//! Reading, writing and listing files are programs like any other: this binary again, as the caller.
#![deny(unsafe_code)]

mod domain;
mod files;
mod gate;
mod program;
mod reap;
mod sys;
mod terminal;
mod work;

use crate::channel::{Channel, Mode};
use closedpaw_confine::calls;
use closedpaw_protocol::{Device, Devices};
use reap::Reaper;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::rc::Rc;
use tokio::net::unix::pipe;

/// Who the workload is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
    /// What each program is confined to besides, where the kernel inside can do that.
    domain: Option<BorrowedFd<'static>>,
}

/// Serves the channel (`closedpaw-init serve UID GID`, and the devices of the host's that the sandbox has), or does one file operation (`list`, `read` or `write` PATH).
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", uid, gid, devices @ ..] => {
            let devices: Option<Devices> = devices.iter().map(|word| Device::named(word)).collect();
            match (uid.parse(), gid.parse(), devices) {
                (Ok(uid), Ok(gid), Some(devices)) => {
                    serve(User { uid, gid, domain: domain::prepare() }, devices)
                }
                _ => ExitCode::from(64),
            }
        }
        ["list", path] => files::list(path),
        ["read", path] => files::read(path),
        ["write", path] => files::write(path),
        _ => ExitCode::from(64),
    }
}

fn serve(user: User, devices: Devices) -> ExitCode {
    // To everything in this sandbox clone3 does not exist, and libraries fall back to clone. Its flags lie in memory,
    // where no filter sees them, so it could make namespaces; and the runtime's own filter can only answer EPERM, at
    // which libraries give up.
    if calls::missing(&[libc::SYS_clone3]).is_err() {
        return ExitCode::FAILURE;
    }
    let findings = Rc::new(gate::Findings::at_start(devices, user.domain));
    let Ok((from, to)) = sys::channel() else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let (Ok(from), Ok(to)) = (pipe::Receiver::from_owned_fd(from), pipe::Sender::from_owned_fd(to))
        else {
            return ExitCode::FAILURE;
        };
        let Ok(reaper) = Reaper::start() else { return ExitCode::FAILURE };
        let (channel, _opener) = Channel::new(from, to, Mode::Server);
        channel
            .drive(|stream| {
                tokio::task::spawn_local(work::run(stream, user, Rc::clone(&findings), Rc::clone(&reaper)));
                true
            })
            .await;
        ExitCode::SUCCESS
    })
}
