//! `closedpawctl policy`: the daemon's own code over policy files that anybody may read.
#![forbid(unsafe_code)]

use super::{json, line};
use crate::client::Daemon;
use crate::console::screen;
use crate::failure::Failure;
use closedpaw_confine::list::List;
use closedpaw_protocol::{Label, Source, Tier};
use closedpaw_rules::{
    Case, Grounded, KeyFile, Policy, Problem, Profile, Query, Role, SourceFile, Subject, explain,
    hypothetical, parse_action_words, parse_source, run_cases,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Word {
    /// Check policy, profile and key files; exit 78 if the daemon would refuse them.
    #[command(after_help = "Example:\n  closedpawctl policy check /etc/closedpaw")]
    Check {
        /// The folder that holds policy.d, profiles.d and keys.d.
        dir: Option<PathBuf>,
    },
    /// Say how an action would be decided, by which rule, and what each other rule lacks.
    #[command(
        after_help = "Examples:\n  closedpawctl policy explain exec -- rm -rf /workspace\n  closedpawctl policy explain --untrusted web:example.org fetch GET https://example.com/"
    )]
    Explain {
        /// Something untrusted that the session has read: KIND or KIND:NAME.
        #[arg(long, value_name = "SOURCE")]
        untrusted: Vec<String>,
        /// Something private that the session has read.
        #[arg(long, value_name = "SOURCE")]
        private: Vec<String>,
        /// Who asks: agent, approver or admin.
        #[arg(long, default_value = "agent")]
        role: String,
        /// The folder that holds policy.d.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The action.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ACTION")]
        action: Vec<String>,
    },
    /// Decide a table of cases; exit 1 if one comes out otherwise than expected.
    #[command(after_help = "Example:\n  closedpawctl policy test /etc/closedpaw/tests/shipped.toml")]
    Test {
        /// Files or folders of cases.
        files: Vec<PathBuf>,
        /// The folder that holds policy.d.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Does it; the exit status says how it came out.
pub fn run(word: Word, daemon: &Daemon, as_json: bool) -> Result<u8, Failure> {
    let etc = |dir: Option<PathBuf>| dir.unwrap_or_else(|| daemon.etc());
    match word {
        Word::Check { dir } => check(&etc(dir), as_json),
        Word::Explain { untrusted, private, role, dir, action } => {
            let label = Label::new(sources(&untrusted)?, sources(&private)?);
            explained(&etc(dir), &label, &role, &action, as_json)
        }
        Word::Test { files, dir } => test(&etc(dir), files, as_json),
    }
}

struct Text {
    name: String,
    text: String,
}

fn read_folder(folder: &Path) -> Result<Vec<Text>, Failure> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::file(folder, error)),
    };
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Text, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    Ok(Text { name: path.display().to_string(), text })
}

fn views(texts: &[Text]) -> Vec<SourceFile<'_>> {
    texts.iter().map(|text| SourceFile { name: &text.name, text: &text.text }).collect()
}

fn check(etc: &Path, as_json: bool) -> Result<u8, Failure> {
    let (rules, profiles, keys) = (
        read_folder(&etc.join("policy.d"))?,
        read_folder(&etc.join("profiles.d"))?,
        read_folder(&etc.join("keys.d"))?,
    );
    let (mut problems, mut warnings, mut count) = (Vec::new(), Vec::new(), 0);
    let folder = etc.join("profiles.d");
    match Policy::parse(&views(&rules)) {
        Ok(loaded) => {
            count = loaded.policy.len();
            warnings = loaded.warnings;
        }
        Err(found) => problems.extend(found),
    }
    let mut lists = Vec::new();
    match Profile::parse(&views(&profiles)) {
        Ok(parsed) => lists = lists_of_calls(&folder, &parsed),
        Err(found) => problems.extend(found),
    }
    problems.extend(views(&keys).iter().filter_map(|file| KeyFile::parse(file).err()).flatten());
    let problems: Vec<String> = problems.iter().map(ToString::to_string).chain(lists).collect();
    if rules.is_empty() {
        return Err(Failure::file(&etc.join("policy.d"), "no policy files"));
    }
    report(&problems, &warnings, count, as_json);
    Ok(if problems.is_empty() { 0 } else { 78 })
}

/// What the lists of calls lack that these profiles name.
fn lists_of_calls(folder: &Path, profiles: &[Profile]) -> Vec<String> {
    let names: BTreeSet<&str> = profiles.iter().filter_map(|profile| profile.seccomp.as_deref()).collect();
    let fault = |name: &str| {
        let place = folder.join(name);
        let text = fs::read_to_string(&place).map_err(|error| error.to_string());
        let error = text.and_then(|text| List::compile(&text).map_err(|error| error.to_string())).err()?;
        Some(format!("{}: {error}", place.display()))
    };
    names.into_iter().filter_map(fault).collect()
}

fn report(problems: &[String], warnings: &[Problem], count: usize, as_json: bool) {
    if as_json {
        let all = |found: &[Problem]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        return json(&json!({"rules": count, "errors": problems, "warnings": all(warnings)}));
    }
    problems.iter().for_each(|problem| line(&format!("error: {problem}")));
    warnings.iter().for_each(|warning| line(&format!("warning: {warning}")));
    line(&format!("{count} rules, {} errors, {} warnings", problems.len(), warnings.len()));
}

fn load(etc: &Path) -> Result<Policy, Failure> {
    let texts = read_folder(&etc.join("policy.d"))?;
    Policy::parse(&views(&texts)).map(|loaded| loaded.policy).map_err(|found| {
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        Failure::new("policy", 78, all.join("\n"), "closedpawctl policy check")
    })
}

fn sources(words: &[String]) -> Result<Vec<Source>, Failure> {
    let wrong = |word: &String| {
        Failure::new(
            "source",
            64,
            format!("no such source: {word}"),
            "write KIND or KIND:NAME, as web:example.org",
        )
    };
    words.iter().map(|word| parse_source(word).ok_or_else(|| wrong(word))).collect()
}

fn explained(etc: &Path, label: &Label, role: &str, words: &[String], as_json: bool) -> Result<u8, Failure> {
    let policy = load(etc)?;
    let effect =
        parse_action_words(words).map_err(|error| Failure::new("action", 64, error.to_string(), ""))?;
    let role = [Role::Agent, Role::Approver, Role::Admin].into_iter().find(|known| known.name() == role);
    let role = role.ok_or_else(|| Failure::new("role", 64, "a role is agent, approver or admin", ""))?;
    let action = hypothetical(effect, Tier::Gvisor, "default");
    let gid = nix::unistd::getgid().as_raw();
    let subject = Subject { uid: nix::unistd::getuid().as_raw(), groups: &[gid], role };
    let query = Query { subject, action: &action, label, grounded: Grounded::NONE, approvals: &[], now: 0 };
    let explanation = explain(&policy, &query);
    if as_json {
        json(&json!({
            "verdict": explanation.decision.verdict.name(),
            "rule": explanation.decision.rule.as_deref(),
            "why": explanation.decision.why,
            "smallest_rule": explanation.smallest,
            "text": explanation.to_string(),
        }));
    } else {
        screen::out(&format!("{}\n", screen::visible_lines(explanation.to_string().trim_end())));
    }
    Ok(0)
}

fn test(etc: &Path, files: Vec<PathBuf>, as_json: bool) -> Result<u8, Failure> {
    let policy = load(etc)?;
    let files = if files.is_empty() { vec![etc.join("tests")] } else { files };
    let mut cases = Vec::new();
    for path in &files {
        let texts = if path.is_dir() { read_folder(path)? } else { vec![read(path)?] };
        for file in views(&texts) {
            cases.extend(Case::parse(&file).map_err(|found| {
                let all: Vec<String> = found.iter().map(ToString::to_string).collect();
                Failure::new("cases", 65, all.join("\n"), "correct the table")
            })?);
        }
    }
    if cases.is_empty() {
        return Err(Failure::new("cases", 66, "there are no cases there", "name a file or folder of cases"));
    }
    let results = run_cases(&policy, &cases);
    let failed: Vec<_> = results.iter().filter(|result| !result.passed()).collect();
    if as_json {
        let failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
        json(&json!({"cases": results.len(), "failed": failed}));
    } else {
        failed.iter().for_each(|result| line(&result.to_string()));
        line(&format!("{} cases, {} failed", results.len(), failed.len()));
    }
    Ok(u8::from(!failed.is_empty()))
}
