//! A sandbox by way of a containerd shim: started by `closedpaw-shim`, and by containerd's own client, with the same gVisor behind it.
#![forbid(unsafe_code)]

use crate::peers::quiet;
use crate::report::Report;
use crate::samples::{Samples, Unit};
use closedpaw_tests::raw::Session;
use closedpaw_tests::shim::{Bundle, Form, package};
use closedpaw_tests::world::{World, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const COUNT: u32 = 20;

/// Until the sandbox's first process runs. What ends it again is not timed.
pub(crate) fn measure(world: &World, report: &mut Report) {
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let bundle = Bundle::like(world, &session, Form::Object);
    drop(session);
    bundle.runs(&["/usr/bin/sleep", "1000"]);
    let containerd = Containerd::start(&world.work().join("containerd"));
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..COUNT {
        let output = ours.time(|| bundle.start().output().unwrap());
        if !output.status.success() {
            report.failed(format!("closedpaw-shim start: {output:?}"));
        }
        assert!(bundle.delete().status().unwrap().success());
        let run = ["run", "--detach", "--null-io", "--runtime"];
        let config = bundle.folder.join("config.json");
        let mut command = containerd.ctr(&run);
        command.arg(&bundle.shim).arg("--config").arg(config).arg("bench");
        let output = theirs.time(|| command.output().unwrap());
        if !output.status.success() {
            report.failed(format!("ctr run: {output:?}"));
        }
        containerd.end("bench");
    }
    report.versus("sandbox_shim", Unit::Milliseconds, &ours, "ctr run, same shim", &theirs);
    report.note("sandbox_shim: until the first process of a sandbox runs, by containerd 2's shim with gVisor behind it");
}

/// One of its own, with nothing in it but what starts containers.
struct Containerd {
    process: Child,
    socket: PathBuf,
}

impl Containerd {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("socket");
        fs::create_dir(folder).unwrap();
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{0}/socket\"\n",
            folder.display()
        );
        fs::write(folder.join("config.toml"), config).unwrap();
        let mut command = quiet(package(Form::Object).join("containerd"));
        let process = command.arg("--config").arg(folder.join("config.toml")).spawn().unwrap();
        let containerd = Self { process, socket };
        until("containerd answers", || {
            containerd.ctr(&["version"]).status().unwrap().success().then_some(())
        });
        containerd
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut command = quiet(package(Form::Object).join("ctr"));
        command.arg("--address").arg(&self.socket).args(words).stderr(Stdio::piped());
        command
    }

    fn end(&self, name: &str) {
        for words in [&["task", "delete", "--force", name][..], &["container", "delete", name]] {
            // Where the start failed there is nothing to delete.
            drop(self.ctr(words).output());
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
