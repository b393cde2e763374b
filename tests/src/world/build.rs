//! Making a world.
#![forbid(unsafe_code)]

use super::manager::Manager;
use super::people::Person;
use super::{BASE, World, closedpawctl, closedpawd, prefix, runsc};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a world is to be.
#[derive(Debug, Clone)]
pub struct Builder {
    policy: Option<String>,
    profiles: Option<String>,
    pinned: bool,
    started: bool,
    person_key: Option<String>,
    other_key: Option<String>,
    managed: bool,
    replaced: Option<(String, Option<PathBuf>)>,
    kata: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            policy: None,
            profiles: None,
            pinned: true,
            started: true,
            person_key: Some("approver".to_owned()),
            other_key: None,
            managed: false,
            replaced: None,
            kata: None,
        }
    }
}

impl Builder {
    /// One file of rules instead of the shipped ones.
    pub fn policy(mut self, text: &str) -> Self {
        self.policy = Some(text.to_owned());
        self
    }

    /// One file of profiles instead of the shipped one.
    pub fn profiles(mut self, text: &str) -> Self {
        self.profiles = Some(text.to_owned());
        self
    }

    /// No runtime is pinned.
    pub fn unpinned(mut self) -> Self {
        self.pinned = false;
        self
    }

    /// The daemon is not started yet; [`World::start`] does that.
    pub fn stopped(mut self) -> Self {
        self.started = false;
        self
    }

    /// The person's key has another role than approver.
    pub fn role(mut self, role: &str) -> Self {
        self.person_key = Some(role.to_owned());
        self
    }

    /// Somebody else on the machine has an approver's key, too.
    pub fn second_key(mut self) -> Self {
        self.other_key = Some("approver".to_owned());
        self
    }

    /// The daemon has a service manager that keeps descriptors for it.
    pub fn managed(mut self) -> Self {
        self.managed = true;
        self
    }

    /// One of the daemon's own programs is another one, or is not there.
    pub fn program(mut self, name: &str, other: Option<&Path>) -> Self {
        self.replaced = Some((name.to_owned(), other.map(Path::to_owned)));
        self
    }

    /// This shim of Kata Containers is pinned, or none.
    pub fn kata(mut self, shim: Option<&Path>) -> Self {
        self.kata = shim.map(Path::to_owned);
        self
    }

    /// Makes it, and starts the daemon unless told otherwise.
    pub fn build(self) -> World {
        let name = unique();
        let (root, work) =
            (Path::new(BASE).join("roots").join(&name), Path::new(BASE).join("work").join(&name));
        let etc = root.join("etc/closedpaw");
        for folder in [etc.join("policy.d"), etc.join("profiles.d"), etc.join("keys.d"), work.clone()] {
            open_folder(&folder);
        }
        fill(&etc.join("policy.d"), self.policy.as_deref(), "policy.d");
        fill(&etc.join("profiles.d"), self.profiles.as_deref(), "profiles.d");
        let socket = root.join("run/closedpaw/closedpawd.sock");
        let person = Person::settle("closedpaw-test", &work, &socket);
        let other = Person::settle("closedpaw-test2", &work, &socket);
        let manager = self.managed.then(|| Manager::listening_in(&work));
        let prefix = match &self.replaced {
            Some((name, other)) => prefix_with(&root.join("prefix"), name, other.as_deref()),
            None => prefix(),
        };
        let mut world = World { prefix, root, work, daemon: None, manager, started_by: None, person, other };
        for (person, role, name) in
            [(&world.person, &self.person_key, "person"), (&world.other, &self.other_key, "other")]
        {
            if let Some(role) = role {
                enroll(&socket, person, role, name);
            }
        }
        if self.pinned {
            let runsc = runsc();
            let ran = world.closedpawd(&["pin", runsc.to_str().unwrap()]);
            assert_eq!(ran.code, Some(0), "pin: {ran}");
        }
        if let Some(shim) = &self.kata {
            let ran = world.closedpawd(&["pin", "--kata", shim.to_str().unwrap()]);
            assert_eq!(ran.code, Some(0), "pin: {ran}");
        }
        if self.started {
            world.start();
        }
        world
    }
}

/// The installation under test but for one program.
fn prefix_with(own: &Path, name: &str, other: Option<&Path>) -> PathBuf {
    for folder in ["bin", "libexec/closedpaw"] {
        open_folder(&own.join(folder));
        for entry in fs::read_dir(prefix().join(folder)).unwrap().flatten() {
            fs::copy(entry.path(), own.join(folder).join(entry.file_name())).unwrap();
        }
    }
    let program = own.join("libexec/closedpaw").join(name);
    fs::remove_file(&program).unwrap();
    if let Some(other) = other {
        fs::copy(other, &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    own.to_owned()
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{:x}-{:x}-{}", now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A folder that is root's and that everybody may enter, whatever the umask.
fn open_folder(path: &Path) {
    fs::create_dir_all(path).unwrap();
    for folder in path.ancestors().take_while(|folder| *folder != Path::new(BASE)) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn fill(folder: &Path, text: Option<&str>, shipped: &str) {
    if let Some(text) = text {
        return fs::write(folder.join("test.toml"), text).unwrap();
    }
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../policy").join(shipped);
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
}

fn enroll(socket: &Path, person: &Person, role: &str, name: &str) {
    let (public, uid) = (person.generate_key().to_string(), person.uid.to_string());
    let mut command = Command::new(closedpawctl());
    command.env_clear().arg("--socket").arg(socket).args(["key", "enroll", "--name", name, "--uid", &uid]);
    let output = command.args(["--public", &public, "--role", role]).output().unwrap();
    assert!(output.status.success(), "enroll: {output:?} with {}", closedpawd().display());
}
