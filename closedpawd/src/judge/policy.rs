//! The policy in force: all of its files or none, under one revision.
#![forbid(unsafe_code)]

use super::files::{self, Text};
use closedpaw_confine::list::{CallSet, List};
use closedpaw_protocol::Revision;
use closedpaw_rules::{Policy, Problem, Profile, SourceFile};
use std::collections::BTreeMap;
use std::path::Path;

/// A policy that was loaded whole.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) policy: Policy,
    pub(crate) profiles: BTreeMap<String, Profile>,
    /// The lists of system calls that profiles name, by their files' names.
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) revision: Revision,
    pub(crate) files: u64,
    pub(crate) warnings: Vec<String>,
}

/// Keeps revisions apart from every other use of BLAKE3 here.
const CONTEXT: &str = "closedpaw 2026-11 policy revision v1";

impl InForce {
    /// Reads `policy.d` and `profiles.d` under `etc`; every problem in every file is named.
    pub(crate) fn load(etc: &Path) -> Result<Self, Vec<String>> {
        let (rules, mut problems) = files::read(&etc.join("policy.d"));
        let folder = etc.join("profiles.d");
        let (profiles, more) = files::read(&folder);
        problems.extend(more);
        let files = (rules.len() + profiles.len()) as u64;
        let policy = match Policy::parse(&sources(&rules)) {
            Ok(loaded) => Some(loaded),
            Err(found) => {
                problems.extend(found.iter().map(Problem::to_string));
                None
            }
        };
        let parsed = parse_profiles(&profiles, &mut problems);
        let (texts, more) =
            files::named(&folder, parsed.values().filter_map(|profile| profile.seccomp.as_deref()));
        problems.extend(more);
        let lists = compile(&texts, &mut problems);
        let revision = revision(&[&rules, &profiles, &texts]);
        let profiles = parsed;
        match policy {
            Some(loaded) if problems.is_empty() => {
                let warnings = loaded.warnings.iter().map(Problem::to_string).collect();
                Ok(Self { policy: loaded.policy, profiles, lists, revision, files, warnings })
            }
            _ => Err(problems),
        }
    }

    /// The calls that a profile leaves to its commands, where it has a list.
    pub(crate) fn calls(&self, profile: &Profile) -> Option<CallSet> {
        self.list(profile).map(|list| list.calls)
    }

    /// The list that a profile names.
    pub(crate) fn list(&self, profile: &Profile) -> Option<&List> {
        self.lists.get(profile.seccomp.as_deref()?)
    }
}

fn sources(texts: &[Text]) -> Vec<SourceFile<'_>> {
    texts.iter().map(|text| SourceFile { name: &text.name, text: &text.text }).collect()
}

fn parse_profiles(texts: &[Text], problems: &mut Vec<String>) -> BTreeMap<String, Profile> {
    match Profile::parse(&sources(texts)) {
        Ok(found) => found.into_iter().map(|profile| (profile.name.clone(), profile)).collect(),
        Err(found) => {
            problems.extend(found.iter().map(Problem::to_string));
            BTreeMap::new()
        }
    }
}

fn compile(texts: &[Text], problems: &mut Vec<String>) -> BTreeMap<String, List> {
    let mut lists = BTreeMap::new();
    for Text { name, text } in texts {
        match List::compile(text) {
            Ok(list) => drop(lists.insert(name.clone(), list)),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    lists
}

/// A digest over every file's folder, name and content.
fn revision(folders: &[&[Text]]) -> Revision {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for folder in folders {
        hasher.update(&(folder.len() as u64).to_be_bytes());
        for Text { name, text } in *folder {
            for part in [name, text] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part.as_bytes());
            }
        }
    }
    Revision(*hasher.finalize().as_bytes())
}
