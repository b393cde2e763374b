//! The OCI bundle of a sandbox: its root filesystem and its configuration.
//!
//! The root filesystem is made once for each user: empty places to mount on, the links of a merged `/usr`, and an
//! `/etc` of our own. Of the host it shows `/usr`, read-only, and nothing else; on an image (`image.rs`) not even that.
#![forbid(unsafe_code)]

use super::cgroups;
use super::devices::{self, Node};
use super::disks::Disk;
use super::sandbox::Sandbox;
use super::setup::Programs;
use crate::verbs::Limits;
use closedpaw_confine::list::CallSet;
use closedpaw_confine::workload::{EVERYWHERE, NAMESPACE_FLAGS, OF_INIT, WITH_OWN_KERNEL};
use closedpaw_protocol::Devices;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxBlockIoBuilder, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType,
    Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
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
const MOST: Limits =
    Limits { memory: 64 << 30, pids: 32768, cpu: 64_000, tmp: 8 << 30, files: 65536, io: 1 << 40 };

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
    /// The disks below what it reads.
    pub(super) disks: &'a [Disk],
    /// The devices of the host's, and their nodes.
    pub(super) devices: Devices,
    pub(super) nodes: &'a [Node],
    /// The system calls that its profile leaves to commands, where it has a list.
    pub(super) calls: Option<CallSet>,
}

impl Bundle<'_> {
    /// Writes `config.json` into the sandbox's folder.
    pub(super) fn write(&self) -> Result<(), OciSpecError> {
        self.spec(&cgroups::available())?.save(self.sandbox.folder.join("config.json"))
    }

    /// The same for a virtual machine.
    pub(super) fn write_for_machine(&self) -> Result<(), OciSpecError> {
        self.spec_for_machine()?.save(self.sandbox.folder.join("config.json"))
    }

    /// What the runtime of a virtual machine has to be told beyond what gVisor knows of itself.
    fn spec_for_machine(&self) -> Result<Spec, OciSpecError> {
        let mut spec = self.spec(&cgroups::available())?;
        let annotations = MACHINE.map(|(name, value)| (format!("{KATA}{name}"), value.to_owned()));
        spec.set_annotations(Some(annotations.into()));
        if let Some(linux) = spec.linux_mut() {
            // Limits are kept by the machine's own kernel, whatever the host's controllers are.
            linux.set_resources(Some(self.resources(&cgroups::LIMITS)?));
            linux.set_cgroups_path(Some(cgroups::path(&self.sandbox.folder)));
        }
        if let Some(mounts) = spec.mounts_mut() {
            let plain = ["nosuid", "noexec"];
            mounts.push(mount("/dev", "tmpfs", Path::new("tmpfs"), &["nosuid", "mode=755", "size=65536k"])?);
            mounts.push(mount(
                "/dev/pts",
                "devpts",
                Path::new("devpts"),
                &[&plain[..], &["newinstance", "ptmxmode=0666", "mode=0620"]].concat(),
            )?);
            mounts.push(mount(
                "/dev/shm",
                "tmpfs",
                Path::new("shm"),
                &[&plain[..], &["nodev", "mode=1777", "size=65536k"]].concat(),
            )?);
        }
        Ok(spec)
    }

    /// What was asked for, as far as this launcher goes.
    pub(super) fn bounded(&self) -> Limits {
        let Limits { memory, pids, cpu, tmp, files, io } = self.limits;
        Limits {
            memory: memory.min(MOST.memory),
            pids: pids.min(MOST.pids),
            cpu: cpu.min(MOST.cpu),
            tmp: tmp.min(MOST.tmp),
            files: files.clamp(64, MOST.files),
            io: io.min(MOST.io),
        }
    }

    /// For a host with these controllers.
    fn spec(&self, here: &[&str]) -> Result<Spec, OciSpecError> {
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
            .seccomp(seccomp(self.calls)?)
            .build()?;
        if !self.nodes.is_empty() {
            linux.set_devices(Some(self.nodes.iter().map(Node::device).collect::<Result<_, _>>()?));
        }
        if here.is_empty() {
            linux.set_resources(None);
        } else {
            linux.set_resources(Some(self.resources(here)?));
            linux.set_cgroups_path(Some(cgroups::path(&self.sandbox.folder)));
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
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let named = self.devices.iter().map(|device| device.name());
        let arguments = ["/closedpaw/init", "serve", &uid, &gid].into_iter().chain(named);
        ProcessBuilder::default()
            .args(arguments.map(str::to_owned).collect::<Vec<_>>())
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

    /// What these controllers can keep to.
    fn resources(&self, here: &[&str]) -> Result<LinuxResources, OciSpecError> {
        let Limits { memory, pids, cpu, io, .. } = self.bounded();
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
        if io > 0 && !self.disks.is_empty() && here.contains(&"io") {
            let disks = self.disks.iter().map(|disk| throttled(*disk, io)).collect::<Result<Vec<_>, _>>()?;
            let block = LinuxBlockIoBuilder::default()
                .throttle_read_bps_device(disks.clone())
                .throttle_write_bps_device(disks);
            resources.set_block_io(Some(block.build()?));
        }
        if !self.nodes.is_empty() {
            let allowed = std::iter::once(devices::no_other()).chain(self.nodes.iter().map(Node::allowed));
            resources.set_devices(Some(allowed.collect::<Result<_, _>>()?));
        }
        Ok(resources)
    }
}

/// What the names of Kata Containers' own settings begin with
/// (<https://github.com/kata-containers/kata-containers/blob/main/docs/how-to/how-to-set-sandbox-config-kata.md>).
const KATA: &str = "io.katacontainers.config.runtime.";

/// A machine without a network device, in whose kernel the list of calls counts.
const MACHINE: [(&str, &str); 3] =
    [("disable_new_netns", "true"), ("internetworking_model", "none"), ("disable_guest_seccomp", "false")];

const NAMESPACES: [LinuxNamespaceType; 6] = [
    LinuxNamespaceType::Pid,
    LinuxNamespaceType::Mount,
    LinuxNamespaceType::Ipc,
    LinuxNamespaceType::Uts,
    LinuxNamespaceType::User,
    LinuxNamespaceType::Network,
];

fn throttled(disk: Disk, rate: u64) -> Result<LinuxThrottleDevice, OciSpecError> {
    LinuxThrottleDeviceBuilder::default()
        .major(i64::from(disk.major))
        .minor(i64::from(disk.minor))
        .rate(rate)
        .build()
}

fn mount(at: &str, typ: &str, source: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default().destination(at).typ(typ).source(source).options(options).build()
}

/// What any sandbox may call; with a profile's list, of that what the list names and what init cannot do without. What the list
/// says of arguments init sees to, for each command.
fn seccomp(list: Option<CallSet>) -> Result<LinuxSeccomp, OciSpecError> {
    let init: HashSet<_> = OF_INIT.calls().collect();
    let left = |call: &(&str, i64)| list.is_none_or(|list| list.has(call.1) || init.contains(call));
    let all = EVERYWHERE.calls().chain(WITH_OWN_KERNEL.calls());
    let names: Vec<String> = all.filter(left).map(|(name, _)| name.to_owned()).collect();
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

#[cfg(test)]
mod tests {
    use super::super::devices::tests::fake;
    use super::*;
    use closedpaw_protocol::{Device, SandboxId};
    use std::collections::HashMap;

    /// What is saved of a bundle with these, on a host with all controllers; and that it is an OCI configuration is what reading it
    /// back shows.
    fn rendered(limits: Limits, disks: &[Disk], devices: Devices, nodes: &[Node]) -> String {
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir(run.path().join("sandboxes")).unwrap();
        let sandbox = Sandbox::new(run.path(), SandboxId([7; 16]), 0).unwrap();
        let root = PathBuf::from("/rootfs");
        let rootfs = &Rootfs { folder: root.clone(), root, host: true };
        let (uid, gid, workspace) = (1000, 1001, None);
        let bundle = Bundle {
            sandbox: &sandbox,
            rootfs,
            uid,
            gid,
            limits,
            workspace,
            from: None,
            disks,
            devices,
            nodes,
            calls: None,
        };
        let file = run.path().join("config.json");
        bundle.spec(&["cpu", "io", "memory", "pids"]).unwrap().save(&file).unwrap();
        let read = Spec::load(&file).unwrap();
        assert_eq!(read, bundle.spec(&["cpu", "io", "memory", "pids"]).unwrap());
        fs::read_to_string(file).unwrap().split_whitespace().collect()
    }

    #[track_caller]
    fn has(text: &str, part: &str) {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }

    /// config-linux.md, "Block IO": the words and the shape are the runtime specification's.
    #[test]
    fn io_is_limited_on_each_disk_both_ways() {
        let limits = Limits { io: 104_857_600, ..Limits::default() };
        let disks = [Disk { major: 8, minor: 0 }, Disk { major: 254, minor: 16 }];
        let text = rendered(limits, &disks, Devices::NONE, &[]);
        let both = r#"[{"major":8,"minor":0,"rate":104857600},{"major":254,"minor":16,"rate":104857600}]"#;
        let part = format!(r#""blockIO":{{"throttleReadBpsDevice":{both},"throttleWriteBpsDevice":{both}}}"#);
        has(&text, &part);
        for text in [
            rendered(Limits::default(), &disks, Devices::NONE, &[]),
            rendered(limits, &[], Devices::NONE, &[]),
        ] {
            assert!(!text.contains("blockIO"), "{text}");
        }
    }

    /// config-linux.md, "Devices" and "Allowed Device list".
    #[test]
    fn a_device_that_is_named_is_rendered_with_its_rule() {
        let nodes = [fake("/dev/kvm", 10, 232)];
        let text = rendered(Limits::default(), &[], [Device::Kvm].into_iter().collect(), &nodes);
        has(&text, r#""devices":[{"path":"/dev/kvm","type":"c","major":10,"minor":232,"fileMode":438}]"#);
        let rules = r#""devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":232,"access":"rw"}]"#;
        has(&text, rules);
        has(&text, r#""args":["/closedpaw/init","serve","1000","1001","/dev/kvm"]"#);
    }

    #[test]
    fn gpus_are_rendered_each_with_its_rule() {
        let nodes =
            [fake("/dev/nvidiactl", 195, 255), fake("/dev/nvidia-uvm", 511, 0), fake("/dev/nvidia0", 195, 0)];
        let text = rendered(Limits::default(), &[], [Device::Nvidia].into_iter().collect(), &nodes);
        let devices = r#""devices":[{"path":"/dev/nvidiactl","type":"c","major":195,"minor":255,"fileMode":438},{"path":"/dev/nvidia-uvm","type":"c","major":511,"minor":0,"fileMode":438},{"path":"/dev/nvidia0","type":"c","major":195,"minor":0,"fileMode":438}]"#;
        has(&text, devices);
        let rules = r#""devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":195,"minor":255,"access":"rw"},{"allow":true,"type":"c","major":511,"minor":0,"access":"rw"},{"allow":true,"type":"c","major":195,"minor":0,"access":"rw"}]"#;
        has(&text, rules);
        has(&text, r#""args":["/closedpaw/init","serve","1000","1001","nvidia"]"#);
    }

    #[test]
    fn without_a_name_no_device_is_rendered() {
        let text = rendered(Limits::default(), &[], Devices::NONE, &[]);
        assert!(!text.contains("/dev/"), "{text}");
        has(&text, r#""args":["/closedpaw/init","serve","1000","1001"]"#);
    }

    /// What Kata Containers' documentation and the OCI runtime specification call it; the host's controllers do not matter.
    #[test]
    fn a_machine_is_told_its_limits_and_that_it_has_no_network() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("sandboxes")).unwrap();
        let sandbox = &Sandbox::new(run.path(), SandboxId([1; 16]), 3).unwrap();
        let limits = Limits { memory: 1 << 28, pids: 100, cpu: 1500, tmp: 1 << 20, files: 1024, io: 0 };
        let root = PathBuf::from("/rootfs");
        let rootfs = &Rootfs { folder: root.clone(), root, host: true };
        let bundle = Bundle {
            sandbox,
            rootfs,
            uid: 1000,
            gid: 1000,
            limits,
            workspace: Some(Path::new("/merged")),
            from: None,
            disks: &[],
            devices: Devices::NONE,
            nodes: &[],
            calls: None,
        };
        let spec = bundle.spec_for_machine().unwrap();
        let annotations = [
            ("io.katacontainers.config.runtime.disable_new_netns", "true"),
            ("io.katacontainers.config.runtime.internetworking_model", "none"),
            ("io.katacontainers.config.runtime.disable_guest_seccomp", "false"),
        ];
        let expected: HashMap<_, _> = annotations.map(|(name, value)| (name.into(), value.into())).into();
        assert_eq!(spec.annotations().as_ref(), Some(&expected));
        let linux = spec.linux().as_ref().unwrap();
        let resources = linux.resources().as_ref().unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(1 << 28));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
        assert!(linux.namespaces().as_ref().unwrap().iter().all(|namespace| namespace.path().is_none()));
        assert!(linux.uid_mappings().as_ref().unwrap().iter().all(|map| map.host_id() != 0));
        let places = |spec: &Spec| -> Vec<PathBuf> {
            spec.mounts().iter().flatten().map(|mount| mount.destination().clone()).collect()
        };
        let [machine, gvisor] = [places(&spec), places(&bundle.spec(&cgroups::available()).unwrap())];
        assert_eq!(machine[..gvisor.len()], gvisor[..]);
        assert_eq!(machine[gvisor.len()..], ["/dev", "/dev/pts", "/dev/shm"].map(PathBuf::from));
        assert!(
            bundle.spec(&cgroups::available()).unwrap().annotations().as_ref().is_none_or(HashMap::is_empty)
        );
    }
}
