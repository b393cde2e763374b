//! From files to a [`Policy`], or to everything that is wrong with them.
#![forbid(unsafe_code)]

mod matchers;
mod reach;
mod rules;
mod vet;

use crate::problem::{Code, Problem, SourceFile, show};
use crate::read::{Reader, Table};
use crate::rule::{Policy, Rule};
use rules::Draft;
use std::collections::BTreeMap;

/// The most rules that are read, over all files.
pub const MAX_RULES: usize = 4096;

/// A policy, and what is odd about it without being wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is decided by.
    pub policy: Policy,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

impl Policy {
    /// Reads every rule of these files.
    ///
    /// # Errors
    /// All problems of all files; then nothing of them is in force.
    pub fn parse(files: &[SourceFile<'_>]) -> Result<Loaded, Vec<Problem>> {
        let mut readers: Vec<Reader<'_>> = files.iter().map(|file| Reader::new(*file)).collect();
        let mut drafts = vec![];
        for (number, reader) in readers.iter_mut().enumerate() {
            drafts.extend(file(reader, number, MAX_RULES.saturating_sub(drafts.len())));
        }
        refuse_duplicates(&mut readers, &drafts);
        let errors = readers.iter().any(Reader::has_problems);
        if !errors {
            reach::warn(&mut readers, &drafts);
        }
        let (problems, warnings): (Vec<_>, Vec<_>) = readers.into_iter().map(Reader::finish).unzip();
        if errors {
            return Err(problems.into_iter().flatten().collect());
        }
        let rules: Vec<Rule> = drafts.into_iter().filter_map(|draft| draft.rule).collect();
        Ok(Loaded { policy: Policy::new(rules), warnings: warnings.into_iter().flatten().collect() })
    }
}

/// The rules of one file.
fn file(reader: &mut Reader<'_>, number: usize, room: usize) -> Vec<Draft> {
    let Some(tree) = reader.document() else { return vec![] };
    let root = Table::root(&tree);
    reader.version(root);
    reader.known_keys(root, &["version", "rule"]);
    let Some((place, rules)) = root.entry("rule") else { return vec![] };
    if !rules.is_list() {
        let hint = Some("a rule begins with [[rule]]".to_owned());
        reader.problem(place, Code::WrongType, "`rule` is a list of tables".into(), hint);
        return vec![];
    }
    let Some(items) = reader.list(rules) else { return vec![] };
    if items.len() > room {
        let message = format!("more than {MAX_RULES} rules in all");
        reader.problem(place, Code::TooManyRules, message, None);
        return vec![];
    }
    let mut drafts = vec![];
    for item in items {
        if let Some(table) = reader.table(item) {
            drafts.push(rules::draft(reader, table, number));
        }
    }
    drafts
}

/// An answer names its rule, so a name means one rule.
fn refuse_duplicates(readers: &mut [Reader<'_>], drafts: &[Draft]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for draft in drafts {
        let Some(name) = &draft.name else { continue };
        if let Some(first) = seen.insert(name, &draft.position) {
            let message = format!("another rule is called {} as well", show(name));
            if let Some(reader) = readers.get_mut(draft.file) {
                reader.problem(
                    draft.place.clone(),
                    Code::DuplicateName,
                    message,
                    Some(format!("the first is at {first}")),
                );
            }
        }
    }
}
