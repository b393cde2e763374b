//! What other ways to start a program cost here, and our own program's start. None has a bar.
#![forbid(unsafe_code)]

use crate::peers::{must, quiet};
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_tests::world::{World, closedpawctl};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const COUNT: u32 = 100;

pub(crate) fn measure(world: &World, report: &mut Report) {
    let runc = Runc::new(world);
    let (mut exec, mut ctl, mut bwrap, mut run) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    for _ in 0..COUNT {
        exec.time(|| must(quiet("/usr/bin/true")));
        ctl.time(|| must(version()));
        bwrap.time(|| must(bubblewrap()));
        run.time(|| must(runc.run()));
    }
    report.versus("ctl_version", Unit::Milliseconds, &ctl, "fork_exec", &exec);
    report.times("fork_exec", Unit::Milliseconds, &exec);
    report.times("bwrap", Unit::Milliseconds, &bwrap);
    report.times("runc_run", Unit::Milliseconds, &run);
}

fn version() -> Command {
    let mut command = quiet(closedpawctl());
    command.arg("--version");
    command
}

/// The links of a merged `/usr`: where they are, and what they lead to.
fn links() -> impl Iterator<Item = (&'static str, String)> {
    let present = |name: &&str| Path::new("/usr").join(name).exists();
    ["bin", "sbin", "lib", "lib64"].into_iter().filter(present).map(|name| (name, format!("usr/{name}")))
}

/// bubblewrap with every namespace and the same `/usr`.
pub(crate) fn bubblewrap() -> Command {
    let mut command = quiet("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"]);
    for (name, target) in links() {
        command.arg("--symlink").arg(target).arg(format!("/{name}"));
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/usr/bin/true"]);
    command
}

/// runc with a bundle of its own making, and the same `/usr`.
struct Runc {
    folder: PathBuf,
    count: Cell<u32>,
}

impl Runc {
    fn new(world: &World) -> Self {
        let folder = world.work().join("bundle-runc");
        let root = folder.join("rootfs");
        for name in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for (name, target) in links() {
            symlink(target, root.join(name)).unwrap();
        }
        let mut spec = quiet("runc");
        spec.arg("spec").arg("--bundle").arg(&folder);
        must(spec);
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/usr/bin/true"]);
        let usr =
            json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
        config["mounts"].as_array_mut().unwrap().push(usr);
        fs::write(path, config.to_string()).unwrap();
        Self { folder, count: Cell::new(0) }
    }

    fn run(&self) -> Command {
        self.count.set(self.count.get() + 1);
        let mut command = quiet("runc");
        command.arg("--root").arg(self.folder.join("state")).arg("run").arg("--bundle").arg(&self.folder);
        command.arg(format!("bench-{}-{}", std::process::id(), self.count.get()));
        command
    }
}
