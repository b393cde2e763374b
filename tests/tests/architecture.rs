//! The architecture as a test: who may depend on whom, where `unsafe` may stand, what root's program links.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its own repository has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Everything a package links in the end, by name; tests and build scripts left out.
fn linked(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--prefix=none",
            "--edges=normal",
            "--format={p}",
            "-p",
            package,
        ])
        .current_dir(repo())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

const MEMBERS: [(&str, &str); 11] = [
    ("protocol", "closedpaw-protocol"),
    ("rules", "closedpaw-rules"),
    ("ledger", "closedpaw-ledger"),
    ("descriptors", "closedpaw-descriptors"),
    ("confine", "closedpaw-confine"),
    ("closedpawd", "closedpawd"),
    ("sandbox", "closedpaw-sandbox"),
    ("shim", "closedpaw-shim"),
    ("images", "closedpaw-images"),
    ("closedpawctl", "closedpawctl"),
    ("tests", "closedpaw-tests"),
];

#[test]
fn pure_crates_link_nothing_that_does_io() {
    for package in ["closedpaw-protocol", "closedpaw-rules", "closedpaw-ledger"] {
        let linked = linked(package);
        for forbidden in ["tokio", "nix", "rustix", "mio", "getrandom", "hyper", "ureq", "landlock", "notify"]
        {
            assert!(!linked.contains(forbidden), "{package} links {forbidden}");
        }
    }
}

#[test]
fn nothing_links_the_daemon() {
    for (_, package) in MEMBERS.iter().filter(|(_, package)| *package != "closedpawd") {
        assert!(!linked(package).contains("closedpawd"), "{package} links closedpawd");
    }
}

#[test]
fn roots_program_links_no_network_no_model_no_image_code() {
    let linked = linked("closedpawd");
    for forbidden in [
        "hyper",
        "reqwest",
        "ureq",
        "rustls",
        "openssl",
        "native-tls",
        "h2",
        "axum",
        "llama-cpp-2",
        "zip",
        "tar",
        "flate2",
        "zlib-rs",
        "ruzstd",
        "yamux",
        "closedpaw-sandbox",
        "closedpaw-shim",
        "ttrpc",
        "protobuf",
        "closedpaw-images",
        "closedpawctl",
        "closedpaw-model",
        "indicatif",
    ] {
        assert!(!linked.contains(forbidden), "closedpawd links {forbidden}");
    }
}

/// What takes images apart has no business with anything else.
#[test]
fn the_worker_for_images_links_no_network() {
    let linked = linked("closedpaw-images");
    assert!(linked.contains("flate2"));
    for forbidden in
        ["hyper", "reqwest", "ureq", "rustls", "openssl", "native-tls", "closedpaw-rules", "toml", "clap"]
    {
        assert!(!linked.contains(forbidden), "closedpaw-images links {forbidden}");
    }
}

/// Else the same filter or domain would be written twice, and once differently.
#[test]
fn filters_and_domains_are_built_in_one_place() {
    for (folder, _) in MEMBERS.iter().filter(|(folder, _)| *folder != "confine") {
        let manifest = fs::read_to_string(repo().join(folder).join("Cargo.toml")).unwrap();
        for line in manifest.lines() {
            assert!(!line.starts_with("landlock") && !line.starts_with("seccompiler"), "{folder}: {line}");
        }
    }
}

fn sources(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.insert(path.clone(), fs::read_to_string(&path).unwrap());
        }
    }
}

fn product_sources() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let members = MEMBERS.iter().map(|(folder, _)| *folder).filter(|folder| *folder != "tests");
    for folder in members.chain(["model"]) {
        sources(&repo().join(folder).join("src"), &mut found);
    }
    found
}

#[test]
fn unsafe_stands_only_in_sys_modules_and_each_says_why_it_holds() {
    for (path, text) in product_sources() {
        let in_sys = path.file_name().is_some_and(|name| name == "sys.rs");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl") {
                assert!(in_sys, "{}:{}: unsafe outside a sys module", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn programs_print_only_through_their_output_module() {
    let allowed = ["screen.rs", "files.rs", "mod.rs", "main.rs", "cli.rs", "sys.rs", "tests.rs"];
    for (path, text) in product_sources() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let prints =
            code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("println!("));
        let test = path.components().any(|part| part.as_os_str() == "tests");
        assert!(!prints || test || allowed.contains(&name.as_str()), "{} prints", path.display());
    }
}

/// A public clone must not know where it was written.
#[test]
fn no_file_names_a_place_of_somebodys_machine_or_a_registry() {
    let tracked = Command::new("git").args(["ls-files", "-z"]).current_dir(repo()).output().unwrap();
    let tracked = String::from_utf8(tracked.stdout).unwrap();
    let registries =
        [["pypi", ".org"], ["crates", ".io/"], ["deb.debian", ".org"], ["registry.npmjs", ".org"]];
    for name in tracked.split('\0').filter(|name| !name.is_empty() && *name != "Cargo.lock") {
        let Ok(text) = fs::read_to_string(repo().join(name)) else { continue };
        for registry in registries.iter().map(|parts| parts.concat()) {
            assert!(!text.contains(&registry), "{name} names {registry}");
        }
        let place = ["/work", "/main"].concat();
        assert!(!text.contains(&place), "{name} names {place}");
    }
}

/// Hand-made files: a lock of the system's dependencies is checked where the advisories are.
#[test]
fn the_daemons_dependencies_each_have_their_reason() {
    for (folder, _) in MEMBERS {
        let manifest = fs::read_to_string(repo().join(folder).join("Cargo.toml")).unwrap();
        let mut reasoned = false;
        let mut inside = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                inside = line == "[dependencies]";
                reasoned = false;
            } else if inside && line.starts_with('#') {
                reasoned = true;
            } else if inside && line.contains('=') {
                assert!(reasoned || line.contains(" # "), "{folder}/Cargo.toml: no reason for: {line}");
            }
        }
    }
}
