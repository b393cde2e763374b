//! How long a decision takes.

use super::{Asked, load, policy, rule};
use std::hint::black_box;
use std::time::Instant;

/// Prints the mean time of one decision for each of some queries.
#[test]
#[ignore = "measures and asserts nothing: cargo test --release -p closedpaw-rules speed -- --ignored --nocapture"]
fn one_decision() {
    let shipped = ["10-sessions", "20-looking-around", "30-work", "90-never"].map(|name| {
        let path = format!("{}/../policy/policy.d/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap().replace("version = 1", "")
    });
    let many: String = (0..1000)
        .map(|n| {
            rule(
                &format!("r{n}"),
                &format!(
                    "allow = [\"exec\"]\nargv = [[\"tool{n}\", \"**\"]]\nlabels = {{ untrusted = false }}"
                ),
            )
        })
        .collect();
    for (name, rules) in [("shipped", shipped.concat()), ("1000 rules", many)] {
        let policy = policy(&rules);
        for line in [
            "log",
            "exec -- ls -l src",
            "exec -- make",
            "fetch GET https://example.org/a",
            "read /workspace/a",
            "exec -- tool999",
        ] {
            let asked = Asked::line(line).label(&["workspace"], &["workspace"]);
            asked.with(|query| {
                const ROUNDS: u32 = 20_000;
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    let _ = black_box(crate::decide(&policy, black_box(query)));
                }
                println!("{name}: {line}: {:?}", start.elapsed() / ROUNDS);
            });
        }
    }
}

/// Prints the time that the largest policy takes to load, none of its rules covering another.
#[test]
#[ignore = "measures and asserts nothing: cargo test --release -p closedpaw-rules speed -- --ignored --nocapture"]
fn the_largest_policy() {
    let rules: String = (0..crate::MAX_RULES)
        .map(|n| rule(&n.to_string(), &format!("allow=[\"exec\"]\nargv=[[\"t{n}\"]]")))
        .collect();
    let start = Instant::now();
    let loaded = load(&rules).map(|loaded| loaded.policy.len());
    println!("{:?} rules: {:?}", loaded, start.elapsed());
}
