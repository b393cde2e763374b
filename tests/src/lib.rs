//! End-to-end tests, doubles and benchmarks.
#![forbid(unsafe_code)]

pub mod scripted;
