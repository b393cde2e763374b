//! What criterion measured: `target/criterion/NAME/new`.
#![forbid(unsafe_code)]

use crate::report::Report;
use crate::samples::Unit;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Takes over every median that is there.
pub(crate) fn read(report: &mut Report) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let Ok(entries) = fs::read_dir(target.join("criterion")) else { return };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("new")).collect();
    folders.retain(|folder| folder.join("estimates.json").is_file());
    folders.sort();
    for folder in folders {
        let (Some(estimates), Some(sample)) = (json(&folder, "estimates.json"), json(&folder, "sample.json"))
        else {
            continue;
        };
        let name =
            folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let nanoseconds = estimates["median"]["point_estimate"].as_f64().unwrap_or(f64::NAN);
        let count = sample["times"].as_array().map_or(0, Vec::len);
        report.value(&name, Unit::Microseconds, nanoseconds / 1e3, count);
    }
}

fn json(folder: &Path, name: &str) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
}
