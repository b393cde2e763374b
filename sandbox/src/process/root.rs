//! The sandbox's files: the root filesystem that was made for its person, and what is mounted in it.
#![forbid(unsafe_code)]

use super::{Plan, sys};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Devices that are nobody's in particular.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links in `/dev` that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The most bytes of `/dev/shm`.
const SHARED: u64 = 64 << 20;

/// No program gets anybody's rights by its file's mode, and no file is a device's.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Makes the sandbox's files the only ones there are, for this process and all that it will start.
pub(super) fn enter(plan: &Plan) -> io::Result<()> {
    let root = plan.rootfs.as_path();
    // Nothing that is mounted here is seen elsewhere, and nothing that is mounted elsewhere is seen here.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    bind(root, root)?;
    if plan.host {
        bind(Path::new("/usr"), &root.join("usr"))?;
        sys::read_only_below(&root.join("usr"))?;
    }
    name_it(&root.join("proc"))?;
    processes(&root.join("proc"))?;
    devices(&root.join("dev"), plan.kvm)?;
    memory("tmp", &root.join("tmp"), HARMLESS, &format!("mode=1777,size={},nr_inodes=262144", plan.tmp))?;
    if let Some(workspace) = &plan.workspace {
        bind(workspace, &root.join("workspace"))?;
        again(&root.join("workspace"), HARMLESS)?;
    }
    again(root, HARMLESS | MsFlags::MS_RDONLY)?;
    chdir(root)?;
    // The old root lies over the new one then, and is taken away (pivot_root(2)).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

fn bind(from: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(Some(from), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?)
}

/// Gives what is mounted at a place other flags.
fn again(at: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(None::<&str>, at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, None::<&str>)?)
}

fn memory(name: &str, at: &Path, flags: MsFlags, options: &str) -> io::Result<()> {
    Ok(mount(Some(name), at, Some("tmpfs"), flags, Some(options))?)
}

/// The sandbox's own name of its machine. Not by sethostname(2), which the daemon's unit takes away.
fn name_it(at: &Path) -> io::Result<()> {
    mount(Some("proc"), at, Some("proc"), HARMLESS | MsFlags::MS_NOEXEC, None::<&str>)?;
    let named = fs::write(at.join("sys/kernel/hostname"), "sandbox");
    umount2(at, MntFlags::MNT_DETACH)?;
    named
}

/// Its own processes, and nothing of the kernel's.
fn processes(at: &Path) -> io::Result<()> {
    Ok(mount(Some("proc"), at, Some("proc"), HARMLESS | MsFlags::MS_NOEXEC, Some("subset=pid"))?)
}

fn devices(at: &Path, kvm: bool) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    memory("dev", at, flags, "mode=755,size=64k")?;
    for device in DEVICES.into_iter().chain(kvm.then_some("kvm")) {
        let place = at.join(device);
        File::create_new(&place)?;
        bind(&Path::new("/dev").join(device), &place)?;
        again(&place, flags)?;
    }
    for (name, target) in LINKS {
        symlink(target, at.join(name))?;
    }
    let [terminals, shared] = ["pts", "shm"].map(|name| at.join(name));
    fs::create_dir(&terminals)?;
    fs::create_dir(&shared)?;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    mount(Some("devpts"), &terminals, Some("devpts"), flags, Some(options))?;
    memory("shm", &shared, HARMLESS, &format!("mode=1777,size={SHARED},nr_inodes=65536"))?;
    again(at, flags | MsFlags::MS_RDONLY)
}
