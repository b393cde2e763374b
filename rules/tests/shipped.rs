//! Everything under `policy/`, read with the real reader: what ships is accepted and decides as its table says, what must be
//! refused is refused with the code on its first line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use closedpaw_rules::{Case, Code, KeyFile, Policy, Problem, Profile, SourceFile, run_cases};
use std::fs;
use std::path::{Path, PathBuf};

fn policy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy")
}

/// The TOML files of a folder: file name and text.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(policy().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

fn sources(files: &[(String, String)]) -> Vec<SourceFile<'_>> {
    files.iter().map(|(name, text)| SourceFile { name, text }).collect()
}

fn shipped() -> Policy {
    let files = files("policy.d");
    let loaded = Policy::parse(&sources(&files)).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
    loaded.policy
}

#[test]
fn the_shipped_policy_decides_as_its_table_says() {
    let policy = shipped();
    for (name, text) in files("tests") {
        let cases =
            Case::parse(&SourceFile { name: &name, text: &text }).unwrap_or_else(|p| panic!("{p:#?}"));
        let results = run_cases(&policy, &cases);
        let failed: Vec<String> =
            results.iter().filter(|result| !result.passed()).map(ToString::to_string).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        assert!(results.len() > 200, "the table has shrunk to {}", results.len());
    }
}

#[test]
fn every_shipped_rule_decides_some_case() {
    let policy = shipped();
    let (name, text) = files("tests").remove(0);
    let cases = Case::parse(&SourceFile { name: &name, text: &text }).unwrap();
    let deciding: Vec<String> = run_cases(&policy, &cases)
        .iter()
        .filter_map(|result| result.decision.rule.as_deref().map(str::to_owned))
        .collect();
    for (_, rule, place) in policy.rules() {
        assert!(deciding.iter().any(|one| **one == **rule), "no case is decided by {rule} ({place})");
    }
}

#[test]
fn the_shipped_profiles_are_accepted() {
    let files = files("profiles.d");
    let profiles = Profile::parse(&sources(&files)).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(profiles.iter().any(|profile| profile.name == "default"));
}

/// Each file's refusals, and whether the one on its first line is among them and nothing else is.
fn refused(folder: &str, read: impl Fn(&SourceFile<'_>) -> Vec<Problem>) -> Vec<Code> {
    let mut seen = vec![];
    for (name, text) in files(folder) {
        let expected = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let problems = read(&SourceFile { name: &name, text: &text });
        let words: Vec<&str> = problems.iter().map(|problem| problem.code.word()).collect();
        assert!(!words.is_empty() && words.iter().all(|word| *word == expected), "{name}: {problems:#?}");
        for problem in &problems {
            assert!(problem.line >= 1 && problem.column >= 1 && problem.file == name, "{problem}");
            assert!(problem.line as usize <= text.lines().count(), "{problem}");
        }
        seen.extend(problems.into_iter().map(|problem| problem.code));
    }
    seen
}

#[test]
fn what_must_be_refused_is_refused_with_its_code() {
    let mut seen = refused("invalid", |file| Policy::parse(&[*file]).err().unwrap_or_default());
    seen.extend(refused("invalid/profiles.d", |file| Profile::parse(&[*file]).err().unwrap_or_default()));
    seen.extend(refused("invalid/keys.d", |file| KeyFile::parse(file).err().unwrap_or_default()));
    // Made in tests: too long to keep as files, or no refusal.
    let elsewhere =
        [Code::FileTooBig, Code::TooManyRules, Code::TooManyProblems, Code::Unreachable, Code::NoCases];
    for code in Code::ALL {
        assert!(
            seen.contains(code) != elsewhere.contains(code),
            "{code} has no file in policy/invalid, or needs none"
        );
    }
}
