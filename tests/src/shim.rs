//! `closedpaw-shim` with a real containerd shim and gVisor behind it: the same way that Kata Containers goes, on a machine without
//! virtual machines.
//!
//! What has to be on the machine besides: shims in `CLOSEDPAW_TEST_SHIMS`, each in a folder of its own. They call `runc`, which
//! here is a script that hands on to gVisor.
#![forbid(unsafe_code)]

use crate::raw::Session;
use crate::world::{World, prefix, runsc};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The form of start reply that a shim answers with, and so the service that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A bare address: containerd 1.6, of Debian 12.
    Plain,
    /// An object: containerd 2.
    Object,
}

/// Both.
pub const FORMS: [Form; 2] = [Form::Plain, Form::Object];

/// The folder with the shim that answers so, and what else its package has.
pub fn package(form: Form) -> PathBuf {
    let folder = std::env::var_os("CLOSEDPAW_TEST_SHIMS")
        .map_or("/var/lib/closedpaw-test/shims".into(), PathBuf::from);
    folder.join(match form {
        Form::Plain => "plain",
        Form::Object => "object",
    })
}

/// A script that only root can write.
pub fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// gVisor in runc's place, in a folder of its own: with the launcher's flags, and without those that it does not know.
pub fn runc(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let script_of = format!(
        "#!/bin/sh
while :; do
    case \"$1\" in
        --root | --log) kept=\"$kept $1 $2\"; shift 2 ;;
        --log-format) shift 2 ;;
        --systemd-cgroup) shift ;;
        *) break ;;
    esac
done
exec {} $kept --platform=systrap --network=none --overlay2=none --host-uds=none --oci-seccomp --ignore-cgroups \"$@\"
",
        runsc().display()
    );
    script(&folder.join("runc"), &script_of);
}

/// A shim of that form that finds gVisor as `runc`, at a place of the caller's.
pub fn shim(place: &Path, form: Form) {
    let programs = place.with_extension("programs");
    runc(&programs);
    let real = package(form).join("containerd-shim-runc-v2");
    script(place, &format!("#!/bin/sh\nPATH={}:$PATH exec {} \"$@\"\n", programs.display(), real.display()));
}

/// A program in a folder of the test's that starts another one where `/dev` has what a virtual machine needs, or looks like it: names
/// that only it sees.
pub fn on_a_machine_for_machines(folder: &Path) -> PathBuf {
    let (place, devices) = (folder.join("devices.sh"), folder.join("devices"));
    fs::create_dir(&devices).unwrap();
    let text = format!(
        "#!/bin/sh
exec unshare --mount --propagation private /bin/sh -ec '
    mount -t tmpfs -o mode=755 devices {0}
    for name in null zero full random urandom tty; do : >{0}/$name; mount --bind /dev/$name {0}/$name; done
    mkdir {0}/pts {0}/shm
    mount --rbind /dev/pts {0}/pts
    ln -s /proc/self/fd {0}/fd
    : >{0}/kvm; : >{0}/vhost-vsock; : >{0}/log
    mount --rbind {0} /dev
    exec \"$@\"' sh \"$@\"
",
        devices.display()
    );
    script(&place, &text);
    place
}

/// A bundle as the launcher makes them, for a shim that finds gVisor as `runc`.
pub struct Bundle {
    /// The sandbox's folder.
    pub folder: PathBuf,
    /// The shim's program.
    pub shim: PathBuf,
    /// The sandbox's name.
    pub id: String,
    /// What it works on, where that is mounted in another sandbox's folder.
    pub keep: Option<PathBuf>,
}

impl Bundle {
    /// As the launcher wrote it for a session, with the plain workspace in place of the layer, which only its own processes see.
    pub fn like(world: &World, session: &Session, form: Form) -> Self {
        let sandbox = session.opened.sandbox.to_string();
        let text = fs::read(world.run().join("sandboxes").join(&sandbox).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        let mounts = config["mounts"].as_array_mut().unwrap();
        if let Some(workspace) = mounts.iter_mut().find(|mount| mount["destination"] == "/workspace") {
            workspace["source"] = json!(world.person.workspace);
        }
        config["linux"]["resources"] = Value::Null;
        let folder = world.work().join("bundles").join(format!("{form:?}{sandbox}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let place = folder.join("shim");
        shim(&place, form);
        // Told apart from the sandbox that it is made like, in what the shims keep outside.
        Self { folder, shim: place, id: format!("{form:?}{sandbox}"), keep: None }
    }

    /// What the sandbox's first process is to be.
    pub fn runs(&self, words: &[&str]) {
        let path = self.folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["args"] = json!(words);
        fs::write(path, config.to_string()).unwrap();
    }

    /// Where the number of its first process is written.
    pub fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// The number of its first process.
    pub fn process(&self) -> u32 {
        fs::read_to_string(self.pid_file()).unwrap().parse().unwrap()
    }

    /// The shim's own.
    pub fn shim_process(&self) -> u32 {
        let noted = fs::read_to_string(self.folder.join("shim-processes")).unwrap();
        noted.split(' ').next().unwrap().parse().unwrap()
    }

    /// As the launcher calls it; standard input and output are the sandbox's.
    pub fn start(&self) -> Command {
        let mut command = self.command("start");
        command.arg("--pid-file").arg(self.pid_file());
        if let Some(keep) = &self.keep {
            command.arg("--keep").arg(keep);
        }
        command
    }

    /// The same, at the end.
    pub fn delete(&self) -> Command {
        self.command("delete")
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(prefix().join("libexec/closedpaw/closedpaw-shim"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").current_dir("/");
        command
            .arg(word)
            .arg("--shim")
            .arg(&self.shim)
            .arg("--bundle")
            .arg(&self.folder)
            .args(["--id", &self.id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A test that failed leaves no sandbox; one that passed has none left.
        drop(self.delete().output());
    }
}
