//! The OCI bundle of a sandbox: its root filesystem and its configuration.
//!
//! The root filesystem is made once for each user: empty places to mount on, the links of a merged `/usr`, and an
//! `/etc` of our own. Of the host it shows `/usr`, read-only, and nothing else; on an image (`image.rs`) not even that.
#![forbid(unsafe_code)]

use super::cgroups;
use super::sandbox::Sandbox;
use super::setup::Programs;
use crate::verbs::Limits;
use closedpaw_confine::workload::{EVERYWHERE, NAMESPACE_FLAGS, WITH_OWN_KERNEL};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder, Mount, MountBuilder,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};
use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Bytes of init's stack. gVisor takes memory for a stack in blocks of up to 2 MiB as soon as it is touched.
const STACK: u64 = 256 * 1024;

/// Files of the host's `/etc` that are copied: how the loader finds libraries.
const COPIED: [&str; 2] = ["ld.so.cache", "ld.so.conf"];

/// The most that a sandbox may ever be given.
const MOST: Limits = Limits { memory: 64 << 30, pids: 32768, cpu: 64_000, tmp: 8 << 30, files: 65536 };

/// A root filesystem that sandboxes of one person can be put on.
#[derive(Debug)]
pub(super) struct Rootfs {
    /// What is kept of it below `rootfs/`.
    pub(super) folder: PathBuf,
    /// Where a runtime finds it.
    pub(super) root: PathBuf,
    /// Whether the host's `/usr` is to be seen in it.
    pub(super) host: bool,
}

/// The root filesystem for a user that shows the host's `/usr`, made at the first call.
pub(super) fn rootfs(run: &Path, programs: &Programs, uid: u32, gid: u32) -> io::Result<Rootfs> {
    let root = run.join("rootfs").join(format!("{uid}-{gid}"));
    if !root.exists() {
        own_files(&root, programs, (uid, gid), true)?;
    }
    Ok(Rootfs { folder: root.clone(), root, host: true })
}

/// Makes our own part of a root filesystem: the places to mount on, init, and an `/etc` in which the person has a name. With what
/// the host's programs need, if they are to be seen in it.
pub(super) fn own_files(
    root: &Path,
    programs: &Programs,
    (uid, gid): (u32, u32),
    host: bool,
) -> io::Result<()> {
    let draft = root.with_extension("new");
    drop(fs::remove_dir_all(&draft));
    for folder in ["usr", "etc", "proc", "dev", "sys", "tmp", "workspace", "closedpaw"] {
        fs::create_dir_all(draft.join(folder))?;
    }
    etc(&draft.join("etc"), uid, gid)?;
    if host {
        of_the_host(&draft)?;
    }
    let init = draft.join("closedpaw/init");
    fs::copy(&programs.init, &init)?;
    fs::set_permissions(init, Permissions::from_mode(0o755))?;
    fs::rename(&draft, root)
}

/// What goes with the host's `/usr`: the links into it, how its loader finds libraries, the names of its programs.
fn of_the_host(root: &Path) -> io::Result<()> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let target = Path::new("usr").join(name);
        if Path::new("/").join(&target).exists() {
            symlink(&target, root.join(name))?;
        }
    }
    let etc = root.join("etc");
    fs::write(etc.join("os-release"), "NAME=closedpaw\nID=closedpaw\n")?;
    for name in COPIED {
        let from = Path::new("/etc").join(name);
        if from.is_file() {
            fs::copy(from, etc.join(name))?;
        }
    }
    alternatives(&etc.join("alternatives"))
}

fn etc(etc: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let nobody = "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
    fs::write(
        etc.join("passwd"),
        format!("root:x:0:0:root:/:/usr/sbin/nologin\nperson:x:{uid}:{gid}:person:/tmp:/bin/sh\n{nobody}"),
    )?;
    fs::write(etc.join("group"), format!("root:x:0:\nperson:x:{gid}:\nnogroup:x:65534:\n"))?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n")?;
    fs::write(etc.join("hostname"), "sandbox\n")?;
    fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files\n")
}

/// Debian's links from names like `awk` to programs in `/usr`; the links only, none of what else lies there.
fn alternatives(to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir("/etc/alternatives") else { return Ok(()) };
    fs::create_dir(to)?;
    for entry in entries.flatten() {
        if let Ok(target) = fs::read_link(entry.path())
            && target.starts_with("/usr")
        {
            symlink(target, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Who and what a bundle is for.
pub(super) struct Bundle<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) rootfs: &'a Rootfs,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) limits: Limits,
    /// The workspace as it will see it, if there is one.
    pub(super) workspace: Option<&'a Path>,
    /// The folder with the state that it goes on with, if it is no new one.
    pub(super) from: Option<&'a Path>,
}

impl Bundle<'_> {
    /// Writes `config.json` into the sandbox's folder.
    pub(super) fn write(&self) -> Result<(), OciSpecError> {
        self.spec()?.save(self.sandbox.folder.join("config.json"))
    }

    /// What was asked for, as far as this launcher goes.
    pub(super) fn bounded(&self) -> Limits {
        let Limits { memory, pids, cpu, tmp, files } = self.limits;
        Limits {
            memory: memory.min(MOST.memory),
            pids: pids.min(MOST.pids),
            cpu: cpu.min(MOST.cpu),
            tmp: tmp.min(MOST.tmp),
            files: files.clamp(64, MOST.files),
        }
    }

    fn spec(&self) -> Result<Spec, OciSpecError> {
        let root = RootBuilder::default().path(&self.rootfs.root).readonly(true).build()?;
        let mut linux = LinuxBuilder::default()
            .uid_mappings(self.ids(self.uid)?)
            .gid_mappings(self.ids(self.gid)?)
            .namespaces(
                NAMESPACES
                    .into_iter()
                    .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
                    .collect::<Result<Vec<_>, _>>()?,
            )
            .seccomp(seccomp()?)
            .build()?;
        if let Some(resources) = self.resources()? {
            linux.set_resources(Some(resources));
            linux.set_cgroups_path(Some(cgroups::path(&self.sandbox.folder)));
        } else {
            linux.set_resources(None);
        }
        SpecBuilder::default()
            .root(root)
            .hostname("sandbox")
            .mounts(self.mounts()?)
            .process(self.process()?)
            .linux(linux)
            .build()
    }

    /// The sandbox's root is nobody outside; the person is the person. Host uid 0 is not in the map.
    fn ids(&self, person: u32) -> Result<Vec<LinuxIdMapping>, OciSpecError> {
        let map = |inside: u32, outside: u32| {
            LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(1u32).build()
        };
        Ok(vec![map(0, self.sandbox.root_uid())?, map(person, person)?])
    }

    fn mounts(&self) -> Result<Vec<Mount>, OciSpecError> {
        let tmp = format!("size={}", self.bounded().tmp);
        let mut mounts = vec![
            mount("/proc", "proc", Path::new("proc"), &["nosuid", "nodev", "noexec"])?,
            mount("/tmp", "tmpfs", Path::new("tmpfs"), &["nosuid", "nodev", "mode=1777", &tmp])?,
        ];
        if self.rootfs.host {
            mounts.insert(1, mount("/usr", "bind", Path::new("/usr"), &["rbind", "ro", "nosuid", "nodev"])?);
        }
        if let Some(merged) = self.workspace {
            mounts.push(mount("/workspace", "bind", merged, &["rbind", "rw", "nosuid", "nodev"])?);
        }
        Ok(mounts)
    }

    fn process(&self) -> Result<Process, OciSpecError> {
        let init_needs: HashSet<_> = [Capability::Setuid, Capability::Setgid, Capability::Kill].into();
        let capabilities = LinuxCapabilitiesBuilder::default()
            .bounding(init_needs.clone())
            .effective(init_needs.clone())
            .permitted(init_needs)
            .inheritable(HashSet::new())
            .ambient(HashSet::new())
            .build()?;
        let arguments =
            ["/closedpaw/init", "serve", &self.uid.to_string(), &self.gid.to_string()].map(str::to_owned);
        ProcessBuilder::default()
            .args(arguments)
            .cwd("/")
            .env(Vec::new())
            .user(UserBuilder::default().uid(0u32).gid(0u32).build()?)
            .capabilities(capabilities)
            .rlimits(self.rlimits()?)
            .no_new_privileges(true)
            .terminal(false)
            .build()
    }

    fn rlimits(&self) -> Result<Vec<PosixRlimit>, OciSpecError> {
        let files = u64::from(self.bounded().files);
        let limit = |typ, value: u64| PosixRlimitBuilder::default().typ(typ).soft(value).hard(value).build();
        // Init's own; it gives every program the usual one back.
        let stack =
            PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitStack).soft(STACK).hard(u64::MAX);
        Ok(vec![
            limit(PosixRlimitType::RlimitNofile, files)?,
            limit(PosixRlimitType::RlimitCore, 0)?,
            stack.build()?,
        ])
    }

    /// What this host's controllers can keep to; `None` where there are none.
    fn resources(&self) -> Result<Option<LinuxResources>, OciSpecError> {
        let here = cgroups::available();
        if here.is_empty() {
            return Ok(None);
        }
        let Limits { memory, pids, cpu, .. } = self.bounded();
        let mut resources = LinuxResourcesBuilder::default().build()?;
        if memory > 0 && here.contains(&"memory") {
            let bytes = i64::try_from(memory).unwrap_or(i64::MAX);
            resources.set_memory(Some(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build()?));
        }
        if pids > 0 && here.contains(&"pids") {
            resources.set_pids(Some(LinuxPidsBuilder::default().limit(i64::from(pids)).build()?));
        }
        if cpu > 0 && here.contains(&"cpu") {
            let quota = i64::from(cpu) * 100;
            resources.set_cpu(Some(LinuxCpuBuilder::default().quota(quota).period(100_000u64).build()?));
        }
        Ok(Some(resources))
    }
}

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Network,
];

fn mount(at: &str, typ: &str, source: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default().destination(at).typ(typ).source(source).options(options).build()
}

fn seccomp() -> Result<LinuxSeccomp, OciSpecError> {
    let names: Vec<String> = EVERYWHERE.names().chain(WITH_OWN_KERNEL.names()).map(str::to_owned).collect();
    let allowed =
        LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow).build()?;
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .architectures(vec![oci_spec::runtime::Arch::ScmpArchX86_64])
        .syscalls(vec![allowed, clone()?])
        .build()
}

/// Processes and threads, but no namespaces: none of the flags that make one (clone(2)).
fn clone() -> Result<LinuxSyscall, OciSpecError> {
    let none = LinuxSeccompArgBuilder::default()
        .index(0usize)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .value(u64::from(NAMESPACE_FLAGS))
        .value_two(0u64)
        .build()?;
    let names = vec!["clone".to_owned()];
    LinuxSyscallBuilder::default()
        .names(names)
        .action(LinuxSeccompAction::ScmpActAllow)
        .args(vec![none])
        .build()
}
