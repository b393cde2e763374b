//! A stand-in for what a service manager does beside starting the daemon: it keeps descriptors for it, and hands them over
//! at the next start (FDSTORE= in sd_notify(3), sd_listen_fds(3)). The machine tests have the real one.
#![forbid(unsafe_code)]

use closedpaw_descriptors::handover;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// The descriptors that it keeps, by their names.
type Stored = BTreeMap<String, OwnedFd>;

/// A manager; it listens as long as there is one.
#[derive(Debug)]
pub struct Manager {
    path: PathBuf,
    stored: Arc<Mutex<Stored>>,
}

impl Manager {
    pub(super) fn listening_in(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stored = Arc::default();
        let weak = Arc::downgrade(&stored);
        std::thread::spawn(move || listen(&socket, &weak));
        Self { path, stored }
    }

    /// What it keeps by now.
    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap()
    }

    /// Hands over what it keeps, and says where it listens.
    pub(super) fn prepare(&self, command: &mut Command) {
        let stored = self.stored();
        let (names, stored): (Vec<_>, Vec<_>) = stored.iter().unzip();
        let copies: Vec<OwnedFd> =
            stored.into_iter().map(|descriptor| descriptor.try_clone().unwrap()).collect();
        if !copies.is_empty() {
            command.env("LISTEN_FDS", copies.len().to_string());
            command.env("LISTEN_FDNAMES", names.into_iter().cloned().collect::<Vec<_>>().join(":"));
        }
        command.env("NOTIFY_SOCKET", &self.path).env("FDSTORE", "4608");
        handover::hand_over(command, copies);
    }
}

/// Hears whatever the daemon says, so that it never has to wait with it.
fn listen(socket: &UnixDatagram, stored: &Weak<Mutex<Stored>>) {
    while let Some(stored) = stored.upgrade() {
        let Some((words, descriptor)) = receive(socket) else { continue };
        let has = |wanted: &str| words.lines().any(|line| line == wanted);
        let name = words.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
        if has("FDSTOREREMOVE=1") {
            stored.lock().unwrap().remove(&name);
        } else if has("FDSTORE=1") {
            assert!(has("FDPOLL=0"), "it would be let go when its other end is: {words}");
            stored.lock().unwrap().insert(name, descriptor.expect("a descriptor"));
        }
    }
}

fn receive(socket: &UnixDatagram) -> Option<(String, Option<OwnedFd>)> {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut buffer)];
    let length = recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?.bytes;
    let rights = ancillary.drain().find_map(|item| match item {
        RecvAncillaryMessage::ScmRights(mut received) => received.next(),
        _ => None,
    });
    Some((String::from_utf8_lossy(buffer.get(..length)?).into_owned(), rights))
}
