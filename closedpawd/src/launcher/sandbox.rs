//! One sandbox as the launcher knows it: folders, descriptors and processes under a random name.
#![forbid(unsafe_code)]

use super::layer::Layer;
use super::store::{Parts, Store};
use super::{internal, saved, sys};
use closedpaw_protocol::image::Sha256;
use closedpaw_protocol::{ErrorCode, SandboxId, Tier};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The first of the uids that are nobody's: two for each sandbox, its root and its relay.
///
/// Above what systemd gives to containers and below what it gives to foreign images
/// (<https://systemd.io/UIDS-GIDS/>).
const RESERVED: u32 = 1_900_000_000;

/// The first one behind them: the worker's that unpacks images.
pub(crate) const RESERVED_END: u32 = RESERVED + 2 * (MOST as u32);

/// The most sandboxes at a time, whatever the judge says.
pub(super) const MOST: usize = 512;

/// What the launcher holds for one sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) folder: PathBuf,
    pub(super) slot: u32,
    /// The slot whose categories it has (SELinux): its own, or that of the sandbox on whose layer it works.
    pub(super) domain: u32,
    /// What it runs in, from its start on.
    pub(super) tier: Option<Tier>,
    pub(super) layer: Option<Layer>,
    /// Whose it is, from its layer's mount or its start on.
    pub(super) person: Option<u32>,
    /// Whether it has a layer of its own.
    pub(super) layered: bool,
    /// The sandbox on whose layer it works, where that is another one.
    pub(super) of: Option<SandboxId>,
    /// Whether an earlier launcher has started it: then its mounts are in that one's mount table.
    taken_back: bool,
    /// The root filesystem that it was started on, which others of its person's use as well.
    pub(super) rootfs: Option<PathBuf>,
    /// The relay's ends of the channel, from the runtime's start to the relay's.
    pub(super) channel: Option<(OwnedFd, OwnedFd)>,
    relay: Option<OwnedFd>,
    process: Option<OwnedFd>,
    /// Copies of what the judge was given of it, until the store has them.
    pub(super) lent: Parts,
    /// Whether the store has what it lives on.
    stored: bool,
}

/// Where a later launcher finds the slot and the root filesystem, as links in the sandbox's folder.
const NOTES: [&str; 5] = ["slot", "root", "domain", "of", "person"];

/// And, from the mount on, the number of the filesystem that its workspace is on.
const ON: &str = "on";

/// And the tier, from the start on.
const TIER: &str = "tier";

/// And the image, if it runs on one: the digits of its digest.
pub(crate) const IMAGE_NOTE: &str = "image";

/// What a sandbox runs in, or ran, as its folder says. One that does not say is of a daemon that knew gVisor only.
pub(super) fn tier_of(folder: &Path) -> Tier {
    let word = fs::read_link(folder.join(TIER)).unwrap_or_default();
    let tiers = [Tier::Process, Tier::Gvisor, Tier::Kata];
    tiers.into_iter().find(|tier| Path::new(tier.name()) == word).unwrap_or(Tier::Gvisor)
}

/// The image that a sandbox runs on, as its folder says.
pub(super) fn image_of(folder: &Path) -> Option<Sha256> {
    let digits = fs::read_link(folder.join(IMAGE_NOTE)).ok()?;
    format!("sha256:{}", digits.to_str()?).parse().ok()
}

impl Sandbox {
    pub(super) fn new(run: &Path, id: SandboxId, slot: u32) -> io::Result<Self> {
        let folder = run.join("sandboxes").join(id.to_string());
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        Ok(Self::in_folder(folder, slot))
    }

    fn in_folder(folder: PathBuf, slot: u32) -> Self {
        let (lent, stored) = (Parts::default(), false);
        Self {
            folder,
            slot,
            domain: slot,
            tier: None,
            layer: None,
            person: None,
            layered: false,
            of: None,
            taken_back: false,
            rootfs: None,
            channel: None,
            relay: None,
            process: None,
            lent,
            stored,
        }
    }

    /// One that an earlier launcher has started; of the parts, those that are the judge's remain. Nothing if there is not
    /// all of it.
    pub(super) fn take_back(run: &Path, id: SandboxId, parts: &mut Parts) -> Option<Self> {
        let folder = run.join("sandboxes").join(id.to_string());
        let [slot, rootfs, domain, of, person] = NOTES.map(|note| fs::read_link(folder.join(note)).ok());
        let number = |link: Option<PathBuf>| link.and_then(|link| link.to_str()?.parse::<u32>().ok());
        let slot_of = |link| number(link).filter(|slot| (*slot as usize) < MOST);
        let (Some(slot), Some(domain), true) = (slot_of(slot), slot_of(domain), parts.whole()) else {
            // Nobody waits for what is left of it to end by itself.
            for process in [&parts.process, &parts.relay].into_iter().flatten() {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            return None;
        };
        let tier = tier_of(&folder);
        let mut sandbox = Self::in_folder(folder, slot);
        (sandbox.tier, sandbox.rootfs, sandbox.stored) = (Some(tier), rootfs, true);
        (sandbox.domain, sandbox.taken_back) = (domain, true);
        sandbox.of = of.and_then(|of| of.to_str()?.parse().ok());
        (sandbox.person, sandbox.layered) = (number(person), parts.merged.is_some());
        (sandbox.process, sandbox.relay) = (parts.process.take(), parts.relay.take());
        Some(sandbox)
    }

    /// Takes note of the filesystem that its workspace is on, for itself and for those that share its layer.
    pub(super) fn lies_on(&self, device: u64) -> io::Result<()> {
        std::os::unix::fs::symlink(device.to_string(), self.folder.join(ON))
    }

    /// The number of that filesystem, whichever launcher mounted the layer.
    pub(super) fn workspace_on(&self) -> Option<u64> {
        fs::read_link(self.folder.join(ON)).ok()?.to_str()?.parse().ok()
    }

    /// Takes note of what it is to run in, before there is anything of it to be forgotten.
    pub(super) fn runs_in(&mut self, tier: Tier) -> io::Result<()> {
        std::os::unix::fs::symlink(tier.name(), self.folder.join(TIER))?;
        self.tier = Some(tier);
        Ok(())
    }

    /// Takes note of its image, so that nobody takes that away.
    pub(super) fn runs_on(&self, image: Sha256) -> io::Result<()> {
        std::os::unix::fs::symlink(image.digits(), self.folder.join(IMAGE_NOTE))
    }

    /// Waits until its process, which was killed, has ended.
    pub(super) fn wait(&self) {
        if let Some(process) = &self.process {
            gone(process);
        }
    }

    /// Its process, to wait for its end by.
    pub(super) fn process(&self) -> io::Result<Option<OwnedFd>> {
        self.process.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Gives the store what it lives on, as soon as there is all of it.
    pub(super) fn store(&mut self, id: SandboxId, store: Store) -> io::Result<()> {
        let Some((relay, process)) = self.relay.as_ref().zip(self.process.as_ref()) else { return Ok(()) };
        if self.stored || !store.is_there() {
            return Ok(());
        }
        let mut parts = std::mem::take(&mut self.lent);
        (parts.relay, parts.process) = (Some(relay.try_clone()?), Some(process.try_clone()?));
        let number = |number: u32| PathBuf::from(number.to_string());
        // A link leads somewhere: to nobody, if to no other sandbox.
        let of = PathBuf::from(self.of.map_or_else(|| "nobody".to_owned(), |of| of.to_string()));
        let rootfs = self.rootfs.clone().unwrap_or_default();
        let person = number(self.person.unwrap_or(u32::MAX));
        let targets = [number(self.slot), rootfs, number(self.domain), of, person];
        for (note, target) in NOTES.into_iter().zip(targets) {
            std::os::unix::fs::symlink(target, self.folder.join(note))?;
        }
        store.keep(id, &mut parts)?;
        self.stored = true;
        Ok(())
    }

    /// Gives the store the layer alone, where it has not got the whole of it: then the work in it does not end with the daemon.
    pub(super) fn store_layer(&mut self, id: SandboxId, store: Store) -> io::Result<()> {
        match self.lent.layer() {
            Some(mut layer) if store.is_there() => store.keep(id, &mut layer),
            Some(_) | None => Ok(()),
        }
    }

    /// Leaves it to whoever comes next, if there is somebody to keep it meanwhile.
    pub(super) fn leave(self) -> Result<(), Box<Self>> {
        if !self.stored {
            return Err(Box::new(self));
        }
        // Nothing of it may be undone; descriptors close with the process, which ends now.
        std::mem::forget(self);
        Ok(())
    }

    /// What is its own, for another sandbox of the same person's to work on.
    pub(super) fn share(&self, uid: u32) -> Result<Shared, ErrorCode> {
        if self.person != Some(uid) || self.of.is_some() {
            return Err(ErrorCode::WorkspaceForbidden);
        }
        self.shared()
    }

    /// The same, for whoever is known to be its person's.
    pub(super) fn shared(&self) -> Result<Shared, ErrorCode> {
        let relay = self.relay.as_ref().filter(|_| self.taken_back);
        let mounts = relay.map(sys::mounts_of).transpose().map_err(internal)?;
        let on = self.workspace_on();
        let merged = self.layered.then(|| Layer::merged(&self.folder));
        Ok(Shared { folder: self.folder.clone(), merged, domain: self.domain, on, mounts })
    }

    /// Takes note of the relay's process.
    pub(super) fn relayed_by(&mut self, relay: &Child) -> io::Result<Pid> {
        let pid = i32::try_from(relay.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        self.relay = Some(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(pid)
    }

    /// The uid that is root inside.
    pub(super) fn root_uid(&self) -> u32 {
        RESERVED + 2 * self.slot
    }

    /// The relay's uid.
    pub(super) fn relay_uid(&self) -> u32 {
        RESERVED + 2 * self.slot + 1
    }

    /// Takes note of the runtime's process, which the runtime wrote to the pid file.
    pub(super) fn watch(&mut self) -> io::Result<Pid> {
        let pid = fs::read_to_string(self.folder.join("pid"))?;
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        self.process = Some(pidfd_open(pid, PidfdFlags::empty())?);
        Ok(pid)
    }

    /// The same, where it is not known yet: a number that was read long ago may be somebody else's by now.
    pub(super) fn watch_once(&mut self) -> io::Result<()> {
        if self.process.is_none() { self.watch().map(drop) } else { Ok(()) }
    }

    /// Signals the sandbox's process: everything inside is its threads and stubs, or, where its kernel is the host's, ends with it.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.process {
            Some(process) => Ok(pidfd_send_signal(process, signal)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Ends the processes; the folders go when the runtime has forgotten them.
    pub(super) fn kill(&mut self) {
        // Each may have ended by itself.
        let _ = self.signal(Signal::KILL);
        self.channel = None;
        self.lent = Parts::default();
        if let Some(relay) = self.relay.take() {
            let _ = pidfd_send_signal(&relay, Signal::KILL);
            gone(&relay);
        }
    }
}

/// What more than one sandbox works on.
pub(super) struct Shared {
    /// The folder of the sandbox whose it is.
    pub(super) folder: PathBuf,
    /// The workspace as it sees it, if there is one.
    pub(super) merged: Option<PathBuf>,
    /// The slot whose categories its files have.
    pub(super) domain: u32,
    /// The number of the filesystem below it.
    pub(super) on: Option<u64>,
    /// The mount table that that is in, where it is not this launcher's: an earlier launcher's, in which the relay of the sandbox
    /// that it is of still is.
    mounts: Option<OwnedFd>,
}

impl Shared {
    /// Has a command see the mounts among which it is.
    pub(super) fn seen_by(&mut self, command: &mut Command) {
        if let Some(table) = self.mounts.take() {
            sys::in_child(command, move || Ok(setns(&table, CloneFlags::CLONE_NEWNS)?));
        }
    }
}

/// Waits until a process that was killed has ended. It may be the child of an earlier launcher's parent by now.
fn gone(process: &OwnedFd) {
    let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    while poll(&mut watched, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.kill();
        self.layer = None;
        saved::let_go(&self.folder);
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!("{}: {error}", self.folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the judge says: no person's sandbox works on another's layer, and none on the layer of one that has none.
    #[test]
    fn a_layer_is_shared_with_its_own_person_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sandboxes")).unwrap();
        let mut sandbox = Sandbox::new(folder.path(), SandboxId([1; 16]), 3).unwrap();
        (sandbox.person, sandbox.layered) = (Some(1000), true);
        let shared = sandbox.share(1000).unwrap();
        assert_eq!((shared.domain, shared.merged), (3, Some(Layer::merged(&sandbox.folder))));
        assert_eq!(sandbox.share(1001).map(drop), Err(ErrorCode::WorkspaceForbidden));
        sandbox.of = Some(SandboxId([2; 16]));
        assert_eq!(sandbox.share(1000).map(drop), Err(ErrorCode::WorkspaceForbidden));
    }
}
