//! End-to-end tests, doubles and benchmarks.
#![forbid(unsafe_code)]
// A harness that cannot go on says so and fails the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing
)]

pub mod echo;
pub mod hostile;
pub mod image;
pub mod probe;
pub mod raw;
pub mod screen;
pub mod scripted;
pub mod shim;
pub mod staged;
pub mod terminal;
pub mod tiers;
pub mod world;

/// How often a test repeats what goes wrong only now and then: ten times, and a hundred with `./test --long`.
pub fn rounds() -> usize {
    std::env::var("CLOSEDPAW_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}
