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
    vec![
        finding("daemon", true, Ok(format!("closedpawd {}", status.version))),
        finding("policy", true, policy),
        finding("runtime", true, status.runtime),
        finding("limits", false, limits),
        finding("selinux", false, selinux()),
    ]
}

fn selinux() -> Result<String, String> {
    match fs::read_to_string("/sys/fs/selinux/enforce").as_deref().map(str::trim) {
        Ok("1") => Ok("enforcing".to_owned()),
        Ok(_) => Err("present but not enforcing".to_owned()),
        Err(_) => Err("not here; everything works without it, with one layer less".to_owned()),
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
