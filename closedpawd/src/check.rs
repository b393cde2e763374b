//! `closedpawd check`: everything the daemon would read, read the same way, without starting anything.
#![forbid(unsafe_code)]

use crate::images;
use crate::judge::{files, policy::InForce};
use crate::launcher::{available_limits, check_kernel, found};
use crate::paths::Paths;
use closedpaw_protocol::Tier;
use closedpaw_rules::{KeyFile, SourceFile};
use std::process::ExitCode;

/// Says what is in order and what is not; 78 (EX_CONFIG) if the daemon would not start.
pub fn run(paths: &Paths) -> ExitCode {
    let mut good = true;
    let mut report = |what: &str, result: Result<String, Vec<String>>| match result {
        Ok(line) => tracing::info!("{what}: {line}"),
        Err(problems) => {
            good = false;
            problems.iter().for_each(|problem| tracing::error!("{what}: {problem}"));
        }
    };
    let kernel = closedpaw_confine::floor::release().unwrap_or_default();
    report("kernel", check_kernel(&kernel).map(|()| kernel).map_err(|error| vec![error.to_string()]));
    let policy = InForce::load(&paths.etc());
    let named = |tier: Tier| {
        policy.as_ref().is_ok_and(|policy| policy.profiles.values().any(|profile| profile.isolation == tier))
    };
    let other_tiers: Vec<Tier> =
        [Tier::Process, Tier::Kata].into_iter().filter(|tier| named(*tier)).collect();
    let images = policy.as_ref().map(|policy| images::missing(paths, policy)).unwrap_or_default();
    report("policy", policy.map(|policy| summary(&policy)));
    report("keys", keys(paths));
    report(
        "account",
        crate::accounts::judge().map(|found| found.uid.to_string()).map_err(|e| vec![e.to_string()]),
    );
    report("runtime", found(Tier::Gvisor, paths).map_err(|error| vec![error]));
    // The daemon starts without them, but no session with such a profile does.
    for tier in other_tiers {
        report(tier.name(), found(tier, paths).map_err(|error| vec![error]));
    }
    if !images.is_empty() {
        report("images", Err(images));
    }
    let limits = available_limits();
    tracing::info!("limits: {}", if limits.is_empty() { "none here".to_owned() } else { limits.join(", ") });
    if good { ExitCode::SUCCESS } else { ExitCode::from(78) }
}

fn summary(policy: &InForce) -> String {
    policy.warnings.iter().for_each(|warning| tracing::warn!("policy: {warning}"));
    let profiles: Vec<&str> = policy.profiles.keys().map(String::as_str).collect();
    format!(
        "{} rules, profiles {}, revision {}",
        policy.policy.len(),
        profiles.join(", "),
        policy.revision.short()
    )
}

fn keys(paths: &Paths) -> Result<String, Vec<String>> {
    let (texts, mut problems) = files::read(&paths.etc().join("keys.d"));
    for text in &texts {
        if let Err(found) = KeyFile::parse(&SourceFile { name: &text.name, text: &text.text }) {
            problems.extend(found.iter().map(ToString::to_string));
        }
    }
    if problems.is_empty() { Ok(format!("{} enrolled", texts.len())) } else { Err(problems) }
}
