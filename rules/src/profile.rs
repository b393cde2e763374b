//! Sandbox profiles: `profiles.d/*.toml`.
#![forbid(unsafe_code)]

use crate::paths::is_plain;
use crate::problem::{Code, Problem, SourceFile, show};
use crate::read::{Reader, Table, Value};
use crate::variables::{hostile, is_variable};
use crate::vocabulary::Word;
use closedpaw_protocol::image::{NotPinned, Pinned};
use closedpaw_protocol::{Device, Tier};
use std::collections::BTreeMap;

/// A limit that needs a controller of the kernel, so that a host may be unable to give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Computing time.
    Cpu,
    /// Reading from disks and writing to them.
    Io,
}

impl Resource {
    /// The word profiles and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Io => "io",
        }
    }
}

impl Word for Resource {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Memory, Self::Pids, Self::Cpu, Self::Io].into_iter()
    }
    fn word(self) -> &'static str {
        self.name()
    }
}

/// What one sandbox may use up. A profile that leaves one out has the default's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileLimits {
    /// Bytes of memory.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Hundredths of one processor.
    pub cpu: u32,
    /// Seconds one command may run.
    pub seconds: u32,
    /// Bytes one command may put out.
    pub output: u64,
    /// Files one process may have open.
    pub files: u32,
    /// Bytes of `/tmp`.
    pub tmp: u64,
    /// Bytes of the sandbox's own write layer.
    pub layer: u64,
    /// Bytes a second from each disk, and as many to it; 0 for no limit.
    pub io: u64,
}

impl Default for ProfileLimits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            pids: 256,
            cpu: 200,
            seconds: 600,
            output: 16 << 20,
            files: 1024,
            tmp: 256 << 20,
            layer: 1 << 30,
            io: 0,
        }
    }
}

/// How the workspace is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceMount {
    /// Below a layer of the sandbox's own that takes every write.
    Layer,
    /// Not at all.
    None,
}

impl Word for WorkspaceMount {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Layer, Self::None].into_iter()
    }
    fn word(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::None => "none",
        }
    }
}

/// Where commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// All of a session's in its one sandbox.
    Together,
    /// Each in a sandbox of its own, which nothing has run in before and nothing runs in after it.
    Apart {
        /// How many such sandboxes wait for the next command.
        pool: u32,
    },
}

/// A sandbox profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name: `[a-z0-9-]{1,32}`.
    pub name: String,
    /// The tier it runs on.
    pub isolation: Tier,
    /// The image whose files it shows, by its digest; the host's `/usr` if there is none.
    pub image: Option<Pinned>,
    /// What it may use up.
    pub limits: ProfileLimits,
    /// The limits without which nothing may start.
    pub require: Vec<Resource>,
    /// The variables an action may set. None of them makes a program run or load something.
    pub env: Vec<String>,
    /// The variables an action may set to exactly these values. A PATH among them lies inside `/usr`.
    pub environment: Vec<(String, String)>,
    /// How the workspace is visible.
    pub workspace: WorkspaceMount,
    /// Where commands run.
    pub commands: Commands,
    /// The devices of the host that it has.
    pub devices: Vec<Device>,
    /// The file beside it with the system calls that its commands may make, of those that any sandbox may.
    pub seccomp: Option<String>,
}

impl Word for Device {
    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Profile {
    /// Reads every profile of these files; no two have one name.
    ///
    /// # Errors
    /// All problems of all files.
    pub fn parse(files: &[SourceFile<'_>]) -> Result<Vec<Self>, Vec<Problem>> {
        let mut profiles: Vec<Self> = vec![];
        let mut problems = vec![];
        let mut seen = BTreeMap::new();
        for file in files {
            let mut reader = Reader::new(*file);
            profiles.extend(read_file(&mut reader, &mut seen));
            problems.extend(reader.finish().0);
        }
        if problems.is_empty() { Ok(profiles) } else { Err(problems) }
    }
}

fn read_file(reader: &mut Reader<'_>, seen: &mut BTreeMap<String, ()>) -> Vec<Profile> {
    let Some(tree) = reader.document() else { return vec![] };
    let root = Table::root(&tree);
    reader.version(root);
    reader.known_keys(root, &["version", "profile"]);
    let Some(list) = root.get("profile").and_then(|value| reader.list(value)) else { return vec![] };
    let mut profiles = vec![];
    for item in list {
        let Some(table) = reader.table(item) else { continue };
        let Some(profile) = read_profile(reader, table) else { continue };
        if seen.insert(profile.name.clone(), ()).is_some() {
            let place = table.get("name").map_or(table.place(), Value::place);
            let message = format!("another profile is called {} as well", show(&profile.name));
            reader.problem(place, Code::DuplicateName, message, None);
        }
        profiles.push(profile);
    }
    profiles
}

const KEYS: [&str; 12] = [
    "name",
    "isolation",
    "image",
    "limits",
    "require",
    "env",
    "environment",
    "mounts",
    "commands",
    "pool",
    "devices",
    "seccomp",
];

fn read_profile(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<Profile> {
    reader.known_keys(table, &KEYS);
    let name = reader.required(table, "name").and_then(|value| short_name(reader, value));
    let isolation = reader
        .required(table, "isolation")
        .and_then(|value| reader.word(value, Code::UnknownWord, "isolation"));
    let image = table.get("image").map_or(Some(None), |value| image(reader, value).map(Some));
    let limits = table.get("limits").map_or(Some(ProfileLimits::default()), |value| limits(reader, value));
    let require = table
        .get("require")
        .map_or(Some(vec![]), |value| reader.words(value, Code::UnknownWord, "requirable limit"));
    let env = table.get("env").map_or(Some(vec![]), |value| env(reader, value));
    let environment = table.get("environment").map_or(Some(vec![]), |value| environment(reader, value));
    let workspace = mounts(reader, table);
    let commands = commands(reader, table);
    let devices = devices(reader, table, isolation);
    let seccomp = table.get("seccomp").map_or(Some(None), |value| list_of_calls(reader, value).map(Some));
    if let (Some(ProfileLimits { io: 0, .. }), Some(required)) = (&limits, &require)
        && required.contains(&Resource::Io)
    {
        let place = table.get("require").map_or(table.place(), Value::place);
        let message = "`require` names io, and there is no limit of it".to_owned();
        reader.problem(place, Code::MissingKey, message, Some("set limits.io, in bytes a second".into()));
    }
    let (env, environment) = (env?, environment?);
    if let Some((both, _)) = environment.iter().find(|(name, _)| env.contains(name)) {
        let place = table.get("env").map_or(table.place(), Value::place);
        let message = format!("{} is fixed by `environment`", show(both));
        reader.problem(place, Code::DuplicateName, message, Some("leave it out of one of them".into()));
    }
    Some(Profile {
        name: name?,
        isolation: isolation?,
        image: image?,
        limits: limits?,
        require: require?,
        env,
        environment,
        workspace: workspace?,
        commands: commands?,
        devices: devices?,
        seccomp: seccomp?,
    })
}

/// A name that is part of paths and of the log: `[a-z0-9-]{1,32}`.
pub(crate) fn short_name(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<String> {
    let text = reader.text(value)?;
    let good = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        let hint = Some("up to 32 of a-z, 0-9 and -".to_owned());
        reader.problem(value.place(), Code::BadName, format!("{} is no name", show(text)), hint);
    }
    good.then(|| text.to_owned())
}

/// `NAME@sha256:DIGEST`: what a profile shows does not change because somebody calls another image so.
fn image(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Pinned> {
    let text = reader.text(value)?;
    match text.parse() {
        Ok(image) => Some(image),
        Err(why) => {
            let code = match why {
                NotPinned::NoDigest => Code::Unpinned,
                NotPinned::BadDigest | NotPinned::BadName(_) => Code::BadName,
            };
            let hint = "NAME@sha256:DIGEST, as closedpawd image add says it".to_owned();
            reader.problem(value.place(), code, format!("{}: {why}", show(text)), Some(hint));
            None
        }
    }
}

fn limits(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<ProfileLimits> {
    let table = reader.table(value)?;
    reader.known_keys(table, &["memory", "pids", "cpu", "seconds", "output", "files", "tmp", "layer", "io"]);
    let default = ProfileLimits::default();
    let mut size = |key: &str, default: u64| table.get(key).map_or(Some(default), |value| reader.size(value));
    let (memory, output) = (size("memory", default.memory), size("output", default.output));
    let (tmp, layer) = (size("tmp", default.tmp), size("layer", default.layer));
    let io = size("io", default.io);
    let mut number = |key: &str, default: u32, most: i64| {
        table.get(key).map_or(Some(default), |value| reader.number(value, 1..most + 1))
    };
    let (pids, cpu) = (number("pids", default.pids, 65_536), number("cpu", default.cpu, 100_000));
    let (seconds, files) =
        (number("seconds", default.seconds, 604_800), number("files", default.files, 1 << 20));
    Some(ProfileLimits {
        memory: memory?,
        pids: pids?,
        cpu: cpu?,
        seconds: seconds?,
        output: output?,
        files: files?,
        tmp: tmp?,
        layer: layer?,
        io: io?,
    })
}

fn env(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<String>> {
    let items = reader.list(value)?;
    let mut names = vec![];
    for item in &items {
        let Some(name) = reader.text(*item) else { continue };
        if !is_variable(name) {
            let message = format!("{} is no variable's name", show(name));
            reader.problem(
                item.place(),
                Code::BadName,
                message,
                Some("letters, digits and _; no patterns".into()),
            );
        } else if let Some(known) = hostile(name) {
            let message = format!("{} can make a program run or load something ({known})", show(name));
            let hint = Some("fix its value in `environment` if it must be set".to_owned());
            reader.problem(item.place(), Code::HostileVariable, message, hint);
        } else {
            names.push(name.to_owned());
        }
    }
    (names.len() == items.len()).then_some(names)
}

/// Variables that run code in every program or shell, whoever sets them.
const LOADS_CODE: &[&str] = &["BASH_ENV", "ENV", "GCONV_PATH", "SHELLOPTS", "BASHOPTS", "PROMPT_COMMAND"];

fn environment(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<Vec<(String, String)>> {
    let table = reader.table(value)?;
    let mut fixed = vec![];
    let mut all = true;
    for (name, place, value) in table.entries() {
        let Some(text) = reader.text(value) else {
            all = false;
            continue;
        };
        let fault = if !is_variable(name) {
            Some((Code::BadName, format!("{} is no variable's name", show(name))))
        } else if name.starts_with("LD_") || LOADS_CODE.contains(&name) {
            Some((Code::HostileVariable, format!("{name} loads code into every program")))
        } else if name == "PATH"
            && !text.split(':').all(|folder| is_plain(folder) && folder.starts_with("/usr/"))
        {
            Some((
                Code::HostileVariable,
                "every folder of PATH lies inside /usr, which nobody can write to".to_owned(),
            ))
        } else if text.contains('\0') {
            Some((Code::OutOfRange, "no variable holds a NUL".to_owned()))
        } else {
            None
        };
        match fault {
            Some((code, message)) => reader.problem(place, code, message, None),
            None => fixed.push((name.to_owned(), text.to_owned())),
        }
    }
    all.then_some(fixed)
}

/// How many clean sandboxes wait where a profile does not say.
const POOL: u32 = 2;

/// The most clean sandboxes that may wait in one session.
const MOST_POOL: i64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandsWord {
    Together,
    Apart,
}

impl Word for CommandsWord {
    fn all() -> impl Iterator<Item = Self> {
        [Self::Together, Self::Apart].into_iter()
    }
    fn word(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Apart => "apart",
        }
    }
}

fn commands(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<Commands> {
    let word = match table.get("commands") {
        Some(value) => reader.word(value, Code::UnknownWord, "place for commands")?,
        None => CommandsWord::Together,
    };
    match (word, table.get("pool")) {
        (CommandsWord::Apart, None) => Some(Commands::Apart { pool: POOL }),
        (CommandsWord::Apart, Some(value)) => {
            reader.number(value, 0..MOST_POOL + 1).map(|pool| Commands::Apart { pool })
        }
        (CommandsWord::Together, None) => Some(Commands::Together),
        (CommandsWord::Together, Some(value)) => {
            let hint = Some("with commands = \"apart\" each has one of its own".to_owned());
            let message = "commands run together, in one sandbox, so none waits for them".to_owned();
            reader.problem(value.place(), Code::OutOfRange, message, hint);
            None
        }
    }
}

fn mounts(reader: &mut Reader<'_>, table: Table<'_, '_>) -> Option<WorkspaceMount> {
    let Some(value) = table.get("mounts") else { return Some(WorkspaceMount::Layer) };
    let mounts = reader.table(value)?;
    reader.known_keys(mounts, &["workspace"]);
    let workspace = reader.required(mounts, "workspace")?;
    reader.word(workspace, Code::UnknownWord, "mount")
}

/// The devices, each of which the tier has to be able to hand on: never is one named that would not be there.
fn devices(reader: &mut Reader<'_>, table: Table<'_, '_>, isolation: Option<Tier>) -> Option<Vec<Device>> {
    let Some(value) = table.get("devices") else { return Some(vec![]) };
    let devices: Vec<Device> = reader.words(value, Code::UnknownWord, "device")?;
    let lacking = devices.iter().find_map(|device| Some((device, lacks(isolation?, *device)?)));
    if let Some((device, (why, hint))) = lacking {
        let message = format!("{} cannot be had here: {why}", show(device.name()));
        reader.problem(value.place(), Code::MatchesNothing, message, Some(hint.to_owned()));
        return None;
    }
    Some(devices)
}

/// The name of a file in the profile's own folder: `[a-z0-9-]{1,32}.json`.
fn list_of_calls(reader: &mut Reader<'_>, value: Value<'_, '_>) -> Option<String> {
    let text = reader.text(value)?;
    let stem = text.strip_suffix(".json").unwrap_or_default();
    let good = (1..=32).contains(&stem.len())
        && stem.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        let hint = Some("a file beside this one: up to 32 of a-z, 0-9 and -, then .json".to_owned());
        reader.problem(value.place(), Code::BadName, format!("{} is no list of calls", show(text)), hint);
    }
    good.then(|| text.to_owned())
}

/// Why a tier cannot hand a device on, and what to do instead; nothing if it can.
fn lacks(tier: Tier, device: Device) -> Option<(&'static str, &'static str)> {
    match (tier, device) {
        (Tier::Process | Tier::Kata, Device::Kvm) | (Tier::Gvisor, Device::Nvidia) => None,
        // Its node could be made; without a driver in gVisor's kernel it opens to nothing (ENXIO).
        (Tier::Gvisor, Device::Kvm) => {
            Some(("gVisor's kernel has no driver for it", "isolation = \"process\" can hand it on"))
        }
        (Tier::Process | Tier::Kata, Device::Nvidia) => {
            Some(("only gVisor's nvproxy hands GPUs on", "isolation = \"gvisor\" can"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Profile>, Vec<Problem>> {
        Profile::parse(&[SourceFile { name: "x.toml", text }])
    }

    fn codes(text: &str) -> Vec<Code> {
        parse(text).unwrap_err().iter().map(|problem| problem.code).collect()
    }

    const HEAD: &str = "version = 1\n[[profile]]\nname = \"a\"\nisolation = \"gvisor\"\n";

    #[test]
    fn what_is_left_out_has_the_default() {
        let profile = parse(HEAD).unwrap().remove(0);
        assert_eq!(profile.limits, ProfileLimits::default());
        assert_eq!(profile.workspace, WorkspaceMount::Layer);
        assert_eq!(profile.commands, Commands::Together);
        assert_eq!((profile.devices, profile.limits.io), (vec![], 0));
        assert!(profile.env.is_empty() && profile.environment.is_empty() && profile.require.is_empty());
    }

    #[test]
    fn everything_is_read() {
        let text = format!(
            "{HEAD}require = [\"memory\", \"pids\"]\nenv = [\"LANG\"]\nenvironment = {{ PATH = \"/usr/bin:/usr/sbin\" }}\n\
             mounts = {{ workspace = \"none\" }}\ncommands = \"apart\"\npool = 0\n[profile.limits]\nmemory = \"2GiB\"\npids = 7\ncpu = 50\nseconds = 9\n\
             output = \"1KiB\"\nfiles = 8\ntmp = 4096\nlayer = \"3MiB\"\nio = \"5MiB\"\n"
        );
        let profile = parse(&text).unwrap().remove(0);
        let limits = ProfileLimits {
            memory: 2 << 30,
            pids: 7,
            cpu: 50,
            seconds: 9,
            output: 1024,
            files: 8,
            tmp: 4096,
            layer: 3 << 20,
            io: 5 << 20,
        };
        assert_eq!(profile.limits, limits);
        assert_eq!(profile.require, [Resource::Memory, Resource::Pids]);
        assert_eq!(profile.environment, [("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned())]);
        assert_eq!(profile.workspace, WorkspaceMount::None);
        assert_eq!(profile.commands, Commands::Apart { pool: 0 });
    }

    #[test]
    fn a_pool_is_for_commands_that_run_apart() {
        let commands = |text: &str| parse(&format!("{HEAD}{text}")).map(|profiles| profiles[0].commands);
        assert_eq!(commands("commands = \"apart\""), Ok(Commands::Apart { pool: 2 }));
        assert_eq!(commands("commands = \"apart\"\npool = 8"), Ok(Commands::Apart { pool: 8 }));
        assert_eq!(commands("commands = \"together\""), Ok(Commands::Together));
        for bad in ["pool = 1", "commands = \"together\"\npool = 0", "commands = \"apart\"\npool = 9"] {
            assert_eq!(codes(&format!("{HEAD}{bad}")), [Code::OutOfRange], "{bad}");
        }
        assert_eq!(codes(&format!("{HEAD}commands = \"alone\"")), [Code::UnknownWord]);
    }

    /// A name alone could come to mean another image.
    #[test]
    fn an_image_is_named_with_its_digest() {
        let digits = "0a".repeat(32);
        let image = format!("debian:13@sha256:{digits}");
        let profile = parse(&format!("{HEAD}image = \"{image}\"\n")).unwrap().remove(0);
        assert_eq!(profile.image.map(|image| image.to_string()), Some(image));
        assert_eq!(parse(HEAD).unwrap().remove(0).image, None);
        for (image, code) in [
            ("debian".to_owned(), Code::Unpinned),
            (format!("sha256:{digits}"), Code::Unpinned),
            (format!("debian@sha256:{}", "0A".repeat(32)), Code::BadName),
            ("debian@sha256:12".to_owned(), Code::BadName),
            (format!("a/b@sha256:{digits}"), Code::BadName),
        ] {
            assert_eq!(codes(&format!("{HEAD}image = \"{image}\"\n")), [code], "{image}");
        }
        assert_eq!(codes(&format!("{HEAD}image = 7\n")), [Code::WrongType]);
    }

    #[test]
    fn a_device_is_of_a_closed_list_and_only_where_the_tier_can_hand_it_on() {
        let with = |tier: &str, devices: &str| {
            format!("version = 1\n[[profile]]\nname = \"a\"\nisolation = \"{tier}\"\ndevices = {devices}\n")
        };
        for (tier, device) in [("process", Device::Kvm), ("kata", Device::Kvm), ("gvisor", Device::Nvidia)] {
            let text = with(tier, &format!("[\"{}\"]", device.name()));
            assert_eq!(parse(&text).unwrap().remove(0).devices, [device]);
        }
        for word in ["/dev/mem", "/dev/sda", "/dev/../dev/kvm", "kvm", "/dev/nvidia0", "nvidia ", "*", ""] {
            assert_eq!(codes(&with("process", &format!("[\"{word}\"]"))), [Code::UnknownWord], "{word}");
        }
        for (tier, word) in [("gvisor", "/dev/kvm"), ("process", "nvidia"), ("kata", "nvidia")] {
            assert_eq!(codes(&with(tier, &format!("[\"{word}\"]"))), [Code::MatchesNothing], "{tier} {word}");
        }
        assert_eq!(codes(&with("process", "[7]")), [Code::WrongType]);
    }

    #[test]
    fn a_list_of_calls_lies_beside_the_profile() {
        let with = |name: &str| format!("{HEAD}seccomp = \"{name}\"\n");
        let seccomp = |name: &str| parse(&with(name)).unwrap().remove(0).seccomp;
        assert_eq!(seccomp("no-sockets.json").as_deref(), Some("no-sockets.json"));
        assert_eq!(parse(HEAD).unwrap().remove(0).seccomp, None);
        for name in ["", ".json", "../x.json", "/etc/x.json", "x", "x.toml", "X.json", "a/b.json", "a..json"]
        {
            assert_eq!(codes(&with(name)), [Code::BadName], "{name}");
        }
    }

    #[test]
    fn what_is_required_has_a_limit() {
        assert_eq!(codes(&format!("{HEAD}require = [\"io\"]")), [Code::MissingKey]);
        let text = format!("{HEAD}require = [\"io\"]\nlimits = {{ io = \"1MiB\" }}");
        assert_eq!(parse(&text).unwrap().remove(0).require, [Resource::Io]);
        assert_eq!(codes(&format!("{HEAD}limits = {{ io = 0 }}")), [Code::OutOfRange]);
    }

    #[test]
    fn names_stay_within_paths() {
        for name in ["", "A", "a/b", "..", "a b", "ä", &"a".repeat(33)] {
            let text = format!("version = 1\n[[profile]]\nname = \"{name}\"\nisolation = \"gvisor\"");
            assert_eq!(codes(&text), [Code::BadName], "{name}");
        }
        assert_eq!(
            codes(&format!("{HEAD}[[profile]]\nname = \"a\"\nisolation = \"kata\"")),
            [Code::DuplicateName]
        );
    }

    /// Row P7: no profile lets an action set what makes programs run something.
    #[test]
    fn hostile_variables_are_refused() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "BASH_ENV",
            "NODE_OPTIONS",
            "PYTHONSTARTUP",
            "GIT_EXTERNAL_DIFF",
            "PERL5OPT",
        ] {
            assert_eq!(codes(&format!("{HEAD}env = [\"{name}\"]")), [Code::HostileVariable], "{name}");
        }
        for fixed in [
            "LD_PRELOAD = \"x\"",
            "BASH_ENV = \"x\"",
            "PATH = \"/usr/bin:.\"",
            "PATH = \"/tmp\"",
            "PATH = \"/usr/../x\"",
        ] {
            assert_eq!(
                codes(&format!("{HEAD}environment = {{ {fixed} }}")),
                [Code::HostileVariable],
                "{fixed}"
            );
        }
        assert_eq!(
            codes(&format!("{HEAD}env = [\"TZ\"]\nenvironment = {{ TZ = \"UTC\" }}")),
            [Code::DuplicateName]
        );
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let text = "version = 1\n[[profile]]\nname = \"a\"\nisolaton = \"gvisor\"\nlimits = { memory = \"much\", pids = 0 }\n";
        let mut found = codes(text);
        found.sort();
        assert_eq!(found, [Code::UnknownKey, Code::MissingKey, Code::OutOfRange, Code::BadSize]);
    }
}
