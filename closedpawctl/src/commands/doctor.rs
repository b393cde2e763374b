//! `closedpawctl doctor`: everything that has to be right, each with the remedy where it is not.
#![forbid(unsafe_code)]

use super::{json, line, status};
use crate::client::Daemon;
use crate::console::embedded;
use crate::failure::Failure;
use crate::keys;
use crate::weights::{self, QWEN_0_5B};
use closedpaw_confine::{domain, floor};
use serde_json::json;
use std::fs;
use std::path::Path;

/// How something stands.
struct Finding {
    what: &'static str,
    good: bool,
    /// Whether the main job cannot be done without it.
    needed: bool,
    text: String,
}

/// Looks at everything; exit 1 if something that is needed is not right.
pub async fn run(daemon: &Daemon, as_json: bool) -> Result<u8, Failure> {
    let mut findings = vec![kernel(), landlock(), key(), group(daemon)];
    findings.extend(of_daemon(daemon).await);
    findings.extend([embedded_program(), embedded_weights()]);
    let bad = findings.iter().any(|finding| finding.needed && !finding.good);
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|finding| json!({"what": finding.what, "good": finding.good, "needed": finding.needed, "text": finding.text}))
            .collect();
        json(&json!(all));
    } else {
        for finding in &findings {
            let mark = match (finding.good, finding.needed) {
                (true, _) => "✓",
                (false, true) => "✗",
                (false, false) => "·",
            };
            line(&format!("{mark} {:<14} {}", finding.what, finding.text.replace('\n', "; ")));
        }
    }
    Ok(u8::from(bad))
}

fn finding(what: &'static str, needed: bool, result: Result<String, String>) -> Finding {
    let good = result.is_ok();
    let (Ok(text) | Err(text)) = result;
    Finding { what, good, needed, text }
}

fn kernel() -> Finding {
    let release = floor::release().unwrap_or_default();
    let result = if floor::reached(&release) {
        Ok(release)
    } else {
        Err(format!("Linux {release}: 6.12 or newer is needed (Debian 13 has it)"))
    };
    finding("kernel", true, result)
}

fn landlock() -> Finding {
    let result = domain::available();
    let result =
        result.map(|()| "ABI 6 or newer".to_owned()).map_err(|error| format!("ABI 6 is needed: {error}"));
    finding("landlock", true, result)
}

fn key() -> Finding {
    let result = keys::load()
        .map(|key| crate::client::key_id(&key).to_string())
        .map_err(|failure| failure.to_string());
    finding("approver key", true, result)
}

fn group(daemon: &Daemon) -> Finding {
    let result = fs::metadata(daemon.socket())
        .map_err(|error| format!("{}: {error}", daemon.socket().display()))
        .map(|_| daemon.socket().display().to_string());
    finding("socket", true, result)
}

async fn of_daemon(daemon: &Daemon) -> Vec<Finding> {
    let status = match status::of(daemon).await {
        Ok(status) => status,
        Err(failure) => return vec![finding("daemon", true, Err(failure.to_string()))],
    };
    let limits = if status.missing.is_empty() {
        Ok("memory, processes, cpu and io can be limited".to_owned())
    } else {
        Err(format!(
            "this host cannot limit {}: boot with cgroup v2 and its controllers",
            status.missing.join(", ")
        ))
    };
    let policy = match status.policy_error {
        None => Ok(format!("{} rules, revision {}", status.rules, status.revision.short())),
        Some(error) => Err(format!("a newer policy was refused: {error}")),
    };
    let mut findings = vec![
        finding("daemon", true, Ok(format!("closedpawd {}", status.version))),
        finding("policy", true, policy),
        finding("runtime", true, status.runtime),
    ];
    // They run only what a profile and rules of the admin's name.
    findings.extend(status.tiers.into_iter().map(|(tier, found)| finding(tier.name(), false, found)));
    // They go to sandboxes only where a profile of the admin's names them, and such a profile does not open without them.
    findings.extend(status.devices.into_iter().map(|(device, found)| {
        finding(
            "device",
            false,
            found.map(|nodes| format!("{device}: {nodes}")).map_err(|lacking| format!("{device}: {lacking}")),
        )
    }));
    findings.extend([
        finding("limits", false, limits),
        finding("selinux", false, selinux()),
        finding("apparmor", false, apparmor()),
    ]);
    findings
}

fn selinux() -> Result<String, String> {
    match fs::read_to_string("/sys/fs/selinux/enforce").as_deref().map(str::trim) {
        Ok("1") => Ok("enforcing".to_owned()),
        Ok(_) => Err("present but not enforcing".to_owned()),
        Err(_) => Err("not here; everything works without it, with one layer less".to_owned()),
    }
}

/// The list of loaded profiles is root's to read, but under which one a process runs everybody may see (ps(1), `-Z`).
fn apparmor() -> Result<String, String> {
    match fs::read_to_string("/sys/module/apparmor/parameters/enabled").as_deref().map(str::trim) {
        Ok("Y") => under_apparmor(&launchers()),
        _ => Err("not here; everything works without it, with one layer less".to_owned()),
    }
}

/// What the kernel says each running launcher is confined to.
fn launchers() -> Vec<String> {
    let of = |process: &Path| {
        let status = fs::read_to_string(process.join("status")).ok()?;
        let says = |line: &str| status.lines().any(|found| found.starts_with(line));
        // The judge is the same program, but nobody.
        let launcher = says("Name:\tclosedpawd") && says("Uid:\t0\t");
        if launcher { fs::read_to_string(process.join("attr/apparmor/current")).ok() } else { None }
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| of(&entry.path())).collect()
}

fn under_apparmor(launchers: &[String]) -> Result<String, String> {
    let [first, rest @ ..] = launchers else {
        return Err("present, but no closedpawd is to be seen whose profile could be told".to_owned());
    };
    if rest.iter().any(|other| other != first) {
        return Err("present, but not every closedpawd here runs under the same profile".to_owned());
    }
    match first.trim_end_matches(['\0', '\n']) {
        "closedpawd (enforce)" => Ok("closedpawd's profile is enforcing".to_owned()),
        "closedpawd (complain)" => Err("present, but closedpawd's profile refuses nothing (complain mode)".to_owned()),
        "unconfined" => Err(
            "present, but closedpawd runs without its profile: load it (apparmor_parser -r /etc/apparmor.d/closedpawd) and restart the daemon"
                .to_owned(),
        ),
        _ => Err("present, but closedpawd runs under a profile that is not its own".to_owned()),
    }
}

fn embedded_program() -> Finding {
    let result = embedded::program().map(|path| path.display().to_string());
    finding("embedded model", false, result.ok_or_else(|| "closedpaw-model is not installed".to_owned()))
}

fn embedded_weights() -> Finding {
    let path = weights::path(&QWEN_0_5B);
    let there = |path: &Path| path.metadata().is_ok_and(|found| found.len() == QWEN_0_5B.bytes);
    let result = if there(&path) {
        Ok(path.display().to_string())
    } else {
        Err("missing: closedpawctl model fetch".to_owned())
    };
    finding("weights", false, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(labels: &[&str]) -> Result<String, String> {
        under_apparmor(&labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_daemons_own_profile_that_enforces_is_a_layer() {
        assert!(told(&["closedpawd (enforce)\n"]).is_ok());
        assert!(told(&["closedpawd (enforce)\n", "closedpawd (enforce)\n"]).is_ok());
        for other in [
            "unconfined\n",
            "closedpawd (complain)\n",
            "closedpawd//judge (enforce)\n",
            "other (enforce)\n",
            "closedpawd (unconfined)\n",
            "",
        ] {
            assert!(told(&[other]).is_err(), "{other}");
            assert!(told(&["closedpawd (enforce)\n", other]).is_err(), "{other}");
            assert!(told(&[other, "closedpawd (enforce)\n"]).is_err(), "{other}");
        }
        assert!(told(&[]).is_err());
    }
}
