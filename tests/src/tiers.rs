//! The tiers of isolation that a machine has, for tests that try the same in each.
#![forbid(unsafe_code)]

use crate::raw::Session;
use crate::world::{Builder, World};
use closedpaw_protocol::Tier;
use std::path::{Path, PathBuf};

/// All that can be tried here.
pub fn here() -> Vec<Tier> {
    [Tier::Gvisor, Tier::Process].into_iter().chain(kata().is_ok().then_some(Tier::Kata)).collect()
}

/// The shim of Kata Containers; else what this machine lacks.
pub fn kata() -> Result<PathBuf, String> {
    let given = std::env::var_os("CLOSEDPAW_KATA_DIR").map(|folder| Path::new(&folder).join("bin"));
    let places = ["/usr/bin", "/usr/local/bin", "/opt/kata/bin"].map(PathBuf::from);
    let shims = given.into_iter().chain(places).map(|folder| folder.join("containerd-shim-kata-v2"));
    let shim = shims.into_iter().find(|shim| shim.is_file()).ok_or("no containerd-shim-kata-v2")?;
    match ["/dev/kvm", "/dev/vhost-vsock", "/dev/log"].into_iter().find(|place| !Path::new(place).exists()) {
        Some(place) => Err(format!("no {place}")),
        None => Ok(shim),
    }
}

/// What the shipped rules permit, but in the tier that none of them names.
const RULES: &str = r#"version = 1
[[rule]]
name = "opening"
allow = ["open"]
isolation = "process"
role = "approver"
[[rule]]
name = "seeing and ending one's own"
allow = ["sandbox"]
verb = ["list", "kill", "stop", "start"]
role = ["approver", "admin"]
[[rule]]
name = "the log"
allow = ["log"]
role = ["approver", "admin"]
[[rule]]
name = "looking around"
allow = ["exec"]
argv = [["true"], ["echo", "**"], ["cat", "**"], ["tail", "**"], ["tee", "**"]]
isolation = "process"
role = ["agent", "approver"]
[[rule]]
name = "the rest"
ask = ["exec", "list", "read", "write"]
isolation = "process"
role = ["agent", "approver"]
unless = { allowed = true }
"#;

/// The shipped profile, for a tier.
pub fn profile(tier: Tier) -> String {
    let shipped = include_str!("../../policy/profiles.d/default.toml");
    let named = shipped.replace("isolation = \"gvisor\"", &format!("isolation = \"{}\"", tier.name()));
    assert_eq!(tier == Tier::Gvisor, named == shipped);
    named
}

/// The shipped profile with every command in a sandbox of its own, of which some wait.
pub fn apart(tier: Tier, pool: u32) -> String {
    let keys = format!("commands = \"apart\"\npool = {pool}\n[profile.limits]");
    profile(tier).replace("[profile.limits]", &keys)
}

/// A world whose default profile is of that tier, with rules that name it.
pub fn builder(tier: Tier) -> Builder {
    match tier {
        Tier::Gvisor => World::builder(),
        Tier::Process | Tier::Kata => {
            let rules = RULES.replace("process", tier.name());
            World::builder().profiles(&profile(tier)).policy(&rules).kata(kata().ok().as_deref())
        }
    }
}

/// The same, with the daemon running.
pub fn world(tier: Tier) -> World {
    builder(tier).build()
}

/// A session of the person's in that tier.
pub fn open(world: &World, tier: Tier) -> Session {
    Session::open_with(&world.person, |opening| opening.isolation = tier)
}
