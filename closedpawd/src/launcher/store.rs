//! systemd's descriptor store (FDSTORE= in sd_notify(3)): what keeps a sandbox alive is there, and so outlives the daemon.
//!
//! A relay lives as long as somebody holds the other end of its control socket. The store holds a copy of that end, and with
//! it what a later launcher and judge need to go on: their processes, the judge's memory of the session, the workspace as
//! the sandbox sees it. A daemon that is restarted or killed finds them again; one that is stopped has systemd let them go,
//! and every relay and with it every sandbox ends by itself.
//!
//! Of a sandbox that has ended, the layer may be kept: the merged folder's descriptor keeps both filesystems of it mounted,
//! whatever mount table they were in, and the judge's memory says whose it is.
#![forbid(unsafe_code)]

use closedpaw_descriptors::{frames, handover::take_over};
use closedpaw_protocol::SandboxId;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What is kept of a sandbox.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The judge's end of the relay's control socket.
    pub(super) control: Option<OwnedFd>,
    /// What the judge remembers of the session.
    pub(super) memory: Option<OwnedFd>,
    /// The workspace as the sandbox sees it, where there is one.
    pub(super) merged: Option<OwnedFd>,
    /// The runtime's process, as a pidfd.
    pub(super) process: Option<OwnedFd>,
    /// The relay's process, as a pidfd.
    pub(super) relay: Option<OwnedFd>,
}

/// The names of the parts in the store.
const PARTS: [&str; 5] = ["control", "memory", "merged", "process", "relay"];

/// Those without which a sandbox ends.
const LIFE: [&str; 3] = ["control", "process", "relay"];

/// Those that a layer is kept with when its sandbox has ended.
const LAYER: [&str; 2] = ["memory", "merged"];

impl Parts {
    fn slots(&mut self) -> [&mut Option<OwnedFd>; 5] {
        [&mut self.control, &mut self.memory, &mut self.merged, &mut self.process, &mut self.relay]
    }

    /// Whether it can go on. A sandbox without a workspace has nothing merged.
    pub(super) fn whole(&self) -> bool {
        [&self.control, &self.memory, &self.process, &self.relay].iter().all(|part| part.is_some())
    }

    /// The layer alone, with what the judge remembers of its session, if there are both.
    pub(super) fn layer(&mut self) -> Option<Self> {
        let (memory, merged) = (self.memory.take()?, self.merged.take()?);
        Some(Self { memory: Some(memory), merged: Some(merged), ..Self::default() })
    }
}

/// What the service manager has handed over.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// Where clients connect.
    pub(super) listener: Option<OwnedFd>,
    /// What an earlier launcher has left in the store.
    pub(super) sandboxes: BTreeMap<SandboxId, Parts>,
}

/// Takes over what was handed over, by its names (sd_listen_fds_with_names(3)).
pub(super) fn inherit() -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for (number, name) in sd_notify::listen_fds_with_names()? {
        let descriptor = take_over(number)?;
        match part(&name) {
            Some((sandbox, index)) => {
                let mut slots = inherited.sandboxes.entry(sandbox).or_default().slots().into_iter();
                if let Some(slot) = slots.nth(index) {
                    *slot = Some(descriptor);
                }
            }
            None => inherited.listener = inherited.listener.or(Some(descriptor)),
        }
    }
    Ok(inherited)
}

/// The store: there, or not, as the service manager says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store(bool);

impl Store {
    /// Whether this process has one (`$FDSTORE`, systemd.exec(5)).
    pub(super) fn find() -> Self {
        let room = std::env::var("FDSTORE").ok().and_then(|room| room.parse::<u64>().ok());
        Self(room.is_some_and(|room| room > 0))
    }

    /// Whether there is one.
    pub(super) fn is_there(self) -> bool {
        self.0
    }

    /// Gives it what a sandbox is kept alive with. Without `FDPOLL=0` the manager would let a part go as soon as its other
    /// end has, and a later launcher would find half a sandbox instead of a dead one.
    pub(super) fn keep(self, sandbox: SandboxId, parts: &mut Parts) -> io::Result<()> {
        for (name, part) in PARTS.into_iter().zip(parts.slots()) {
            if let Some(part) = part {
                let words = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={sandbox}.{name}");
                frames::send_packet(&manager()?, words.as_bytes(), &[part.as_fd()])?;
            }
        }
        Ok(())
    }

    /// Has it let a sandbox go, its layer included.
    pub(super) fn forget(self, sandbox: SandboxId) {
        self.let_go(sandbox, &PARTS);
    }

    /// Has it let go of what a sandbox lives on; its layer is kept.
    pub(super) fn forget_life(self, sandbox: SandboxId) {
        self.let_go(sandbox, &LIFE);
    }

    /// Has it let go of the layer.
    pub(super) fn forget_layer(self, sandbox: SandboxId) {
        self.let_go(sandbox, &LAYER);
    }

    fn let_go(self, sandbox: SandboxId, parts: &[&str]) {
        let tell = |name: &&str| {
            let words = format!("FDSTOREREMOVE=1\nFDNAME={sandbox}.{name}");
            frames::send_packet(&manager()?, words.as_bytes(), &[])
        };
        if self.0
            && let Err(error) = parts.iter().try_for_each(tell)
        {
            tracing::warn!("launcher: the descriptor store: {error}");
        }
    }
}

/// Which part of which sandbox a name in the store stands for.
fn part(name: &str) -> Option<(SandboxId, usize)> {
    let (sandbox, part) = name.split_once('.')?;
    Some((sandbox.parse().ok()?, PARTS.iter().position(|known| *known == part)?))
}

/// The service manager's socket; a name that begins with `@` is an abstract one.
fn manager() -> io::Result<UnixDatagram> {
    let name = std::env::var("NOTIFY_SOCKET").map_err(io::Error::other)?;
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_a_name_and_nothing_else_has() {
        let sandbox = SandboxId([0xab; 16]);
        for (index, name) in PARTS.into_iter().enumerate() {
            assert_eq!(part(&format!("{sandbox}.{name}")), Some((sandbox, index)));
        }
        for other in ["closedpawd.socket", "unknown", "", "stored", "ab.control", &format!("{sandbox}.stdin")]
        {
            assert_eq!(part(other), None, "{other}");
        }
        let mut apart: Vec<_> = LIFE.into_iter().chain(LAYER).collect();
        apart.sort_unstable();
        assert_eq!(apart, PARTS, "each part is of one or the other");
    }
}
