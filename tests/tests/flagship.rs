//! The first thing anybody asks, with the model that is always there.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::world::{LONG, World, word};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const NAME: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf";

/// The weights, which somebody has fetched before: `closedpawctl model fetch`.
fn weights() -> PathBuf {
    let given = std::env::var_os("CLOSEDPAW_TEST_WEIGHTS").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let path = given.unwrap_or_else(|| home().join(".cache/closedpaw/models").join(NAME));
    let path = if path.is_dir() { path.join(NAME) } else { path };
    assert!(
        path.is_file(),
        "{} is missing: closedpawctl model fetch, or set CLOSEDPAW_TEST_WEIGHTS",
        path.display()
    );
    path
}

/// Ends the embedded model that the client left running for the next question.
struct Model(PathBuf);

impl Drop for Model {
    fn drop(&mut self) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let name = self.0.as_os_str().as_encoded_bytes();
            if line.windows(name.len()).any(|part| part == name) {
                drop(Command::new("kill").arg("-KILL").arg(entry.file_name()).status());
            }
        }
    }
}

fn give(world: &World, from: &Path) {
    let cache = world.person.home.join(".cache/closedpaw/models");
    world.person.become_for(|| fs::create_dir_all(&cache)).unwrap();
    let to = cache.join(NAME);
    fs::copy(from, &to).unwrap();
    std::os::unix::fs::chown(&to, Some(world.person.uid), Some(world.person.gid)).unwrap();
}

#[test]
fn the_lines_of_a_folders_files_are_counted() {
    let weights = weights();
    let world = World::new();
    give(&world, &weights);
    world.person.write("one.txt", b"a\nb\nc\n");
    world.person.write("two.txt", b"a\nb\nc\nd\n");
    world.person.write("three.txt", b"a\nb\nc\n");
    let _model = Model(world.person.home.clone());
    let began = Instant::now();
    let ran = world.ctl(&["ask", "How many lines do the files in this folder have?"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let words: Vec<&str> = ran.out.split(|c: char| !c.is_ascii_digit()).collect();
    assert!(words.contains(&"10"), "{ran}");
    assert!(ran.err.contains("the embedded model"), "{ran}");
    assert!(began.elapsed() < LONG * 3, "{:?}", began.elapsed());
    let actions: Vec<String> =
        world.records().work().iter().filter_map(|record| word(record, "action")).collect();
    assert!(!actions.is_empty(), "it looked instead of guessing");
    world.verify_audit();
}
