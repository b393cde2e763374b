//! Policy, profile, key and case files: loaded or refused with problems, never a panic.
#![no_main]

use closedpaw_rules::{Case, KeyFile, Policy, Profile, SourceFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = SourceFile { name: "fuzz.toml", text };
    if let Err(problems) = Policy::parse(&[file]) {
        assert!(!problems.is_empty());
    }
    let _ = Profile::parse(&[file]);
    let _ = KeyFile::parse(&file);
    let _ = Case::parse(&file);
});
