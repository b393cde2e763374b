//! The prober: a program that tries to get out of its sandbox, and says what came of it.
#![forbid(unsafe_code)]

use crate::raw::{Running, Session};
use crate::world::World;
use serde_json::Value;

/// Has the prober granted with these words.
pub fn start(world: &World, session: &mut Session, words: &[&str]) -> Running {
    world.person.write("probe.py", include_bytes!("probe.py"));
    let argv: Vec<&str> = ["python3", "probe.py"].iter().chain(words).copied().collect();
    session.approved(&world.person, &argv)
}

/// Runs the prober with these words and gives what it found.
pub fn probe(world: &World, session: &mut Session, words: &[&str]) -> Value {
    let (out, err, exit) = start(world, session, words).finish();
    let text = String::from_utf8_lossy(&out).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}, {exit:?}: {text}\n{}", String::from_utf8_lossy(&err)))
}
