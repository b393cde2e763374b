//! The same sandbox without ClosedPaw around it: its own bundle, run by `runsc` with the launcher's flags.
#![forbid(unsafe_code)]

use closedpaw_tests::world::{World, runsc, until};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A bundle as the launcher wrote it, for another program.
pub(crate) struct Bundle {
    folder: PathBuf,
    state: PathBuf,
    no_cgroups: bool,
    count: Cell<u32>,
}

impl Bundle {
    /// Of a sandbox that is up: its configuration and its root filesystem. The workspace is the plain folder, because
    /// the layer over it is mounted where only the daemon's own processes see it.
    pub(crate) fn like(world: &World, sandbox: &str, name: &str, argv: &[&str]) -> Self {
        let text = fs::read(world.run().join("sandboxes").join(sandbox).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        let folder = world.work().join(format!("bundle-{name}"));
        let state = world.work().join(format!("runsc-{name}"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&state).unwrap();
        config["process"]["args"] = json!(argv);
        let mounts = config["mounts"].as_array_mut().unwrap();
        let workspace = mounts.iter_mut().find(|mount| mount["destination"] == "/workspace").unwrap();
        workspace["source"] = json!(world.person.workspace);
        let no_cgroups = config["linux"]["resources"].is_null();
        if !no_cgroups {
            config["linux"]["cgroupsPath"] = json!(format!("/closedpaw/bench-{name}"));
        }
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        Self { folder, state, no_cgroups, count: Cell::new(0) }
    }

    /// Where the runtime keeps what it knows of these sandboxes; each of their processes names it.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// A name that was not used yet.
    pub(crate) fn fresh(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("bench-{}", self.count.get())
    }

    /// `runsc` with the flags of closedpawd's launcher.
    fn command(&self, word: &str) -> Command {
        let mut command = quiet(runsc());
        command.current_dir("/").arg("--root").arg(&self.state).arg("--log").arg(self.state.join("log"));
        command.args([
            "--platform=systrap",
            "--network=none",
            "--overlay2=none",
            "--host-uds=none",
            "--oci-seccomp",
        ]);
        if self.no_cgroups {
            command.arg("--ignore-cgroups");
        }
        command.arg(word);
        command
    }

    pub(crate) fn run(&self) -> Command {
        let mut command = self.command("run");
        command.arg("--bundle").arg(&self.folder).arg(self.fresh());
        command
    }

    /// As the launcher starts a sandbox.
    pub(crate) fn run_detached(&self, id: &str) -> Command {
        let mut command = self.command("run");
        command.args(["--detach", "--bundle"]).arg(&self.folder).arg(id);
        command
    }

    /// The tool's own start, which each of its calls has in it.
    pub(crate) fn version(&self) -> Command {
        self.command("--version")
    }

    pub(crate) fn delete(&self, id: &str) -> Command {
        let mut command = self.command("delete");
        command.args(["--force", id]);
        command
    }
}

/// A sandbox of a bundle that runs by itself, until this is dropped.
pub(crate) struct Detached<'a> {
    bundle: &'a Bundle,
    id: String,
}

impl<'a> Detached<'a> {
    pub(crate) fn start(bundle: &'a Bundle) -> Self {
        let id = bundle.fresh();
        must(bundle.run_detached(&id));
        let detached = Self { bundle, id };
        until("the sandbox runs", || detached.exec("/usr/bin/true").status().ok()?.success().then_some(()));
        detached
    }

    pub(crate) fn exec(&self, program: &str) -> Command {
        let mut command = self.bundle.command("exec");
        command.args([&self.id, program]);
        command
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        // What cannot be ended here is seen by whoever looks at the machine next; there is no more to do about it.
        drop(self.bundle.delete(&self.id).status());
    }
}

/// A program with nothing around it.
pub(crate) fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs it to its good end.
pub(crate) fn must(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{status}: {command:?}");
}
