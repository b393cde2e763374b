//! An admin's list of the system calls that the commands of a profile may make: seccompiler's JSON form
//! (<https://github.com/rust-vmm/seccompiler/blob/main/docs/json_format.md>), compiled once and installed for each command.
//!
//! Such a list only ever takes away: what it lets through still has to pass the sandbox's own ([`crate::workload`]). So it is
//! a list of what may be called. One of what may not would let every call through that whoever wrote it did not know of.
#![forbid(unsafe_code)]

use crate::filter::{Filter, MOST};
use crate::workload;
use seccompiler::{BpfMap, TargetArch, compile_from_json};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Calls, by their numbers on x86-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSet(pub [u8; CallSet::BYTES]);

impl CallSet {
    /// Bytes of its fixed-size form: one bit for each of the first 512 numbers.
    pub const BYTES: usize = 64;

    /// None.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// Whether this call is among them.
    #[must_use]
    pub fn has(&self, call: i64) -> bool {
        bit(call).is_some_and(|(byte, bit)| self.0.get(byte).is_some_and(|byte| byte & bit != 0))
    }

    fn add(&mut self, call: i64) {
        if let Some((byte, bit)) = bit(call)
            && let Some(byte) = self.0.get_mut(byte)
        {
            *byte |= bit;
        }
    }
}

fn bit(call: i64) -> Option<(usize, u8)> {
    let call = usize::try_from(call).ok()?;
    Some((call / 8, 1 << (call % 8)))
}

/// A list that was found to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What is installed for each command.
    pub filter: Filter,
    /// The calls that it names, whatever it wants of their arguments.
    pub calls: CallSet,
    /// How many these are.
    pub count: usize,
}

/// What a list lacks.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not of the form.
    #[error("not seccompiler's JSON form: {0}")]
    Form(#[from] serde_json::Error),
    /// There are several, or none.
    #[error("one filter, under one name; this has {0}")]
    Filters(usize),
    /// It is a list of what may not be called.
    #[error(
        "match_action has to be \"allow\": a list of what may not be called lets every other call through"
    )]
    NotAllowing,
    /// What it does with other calls lets them through.
    #[error(
        "mismatch_action has to be {{\"errno\": 1}} (or another number), \"kill_process\", \"kill_thread\" or \"trap\""
    )]
    Mismatch,
    /// A call that no sandbox may make.
    #[error("no sandbox may call {0}, so no list can allow it; leave it out")]
    Never(String),
    /// Two rules of which one is without conditions.
    #[error("{0} stands there with conditions and without: leave one out")]
    Both(String),
    /// A call without which nothing runs.
    #[error("without {0} no command starts or ends: put it in, without conditions")]
    Needed(&'static str),
    /// The compiler's own reason.
    #[error("{0}")]
    Compiler(#[from] seccompiler::Error),
    /// The kernel takes no program of this length.
    #[error("too long: {0} instructions, and the kernel takes {MOST}")]
    TooLong(usize),
}

/// The part of the form that is looked at here; seccompiler looks at all of it.
#[derive(Deserialize)]
struct Form {
    #[serde(alias = "default_action")]
    mismatch_action: Otherwise,
    #[serde(alias = "filter_action")]
    match_action: Word,
    filter: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Otherwise {
    Word(Word),
    Number(BTreeMap<Word, u32>),
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Word {
    Allow,
    Errno,
    KillProcess,
    KillThread,
    Log,
    Trace,
    Trap,
}

#[derive(Deserialize)]
struct Rule {
    syscall: String,
    args: Option<Vec<IgnoredAny>>,
}

/// The calls between a filter's installation and the command's own first, and those of its end.
const NEEDED: [&str; 3] = ["execve", "exit", "exit_group"];

impl List {
    /// Reads and compiles one.
    ///
    /// # Errors
    /// [`ListError`]: what it lacks.
    pub fn compile(text: &str) -> Result<Self, ListError> {
        let forms: BTreeMap<String, Form> = serde_json::from_str(text)?;
        let count = forms.len();
        let Some(form) = forms.into_values().next().filter(|_| count == 1) else {
            return Err(ListError::Filters(count));
        };
        form.check_actions()?;
        let (calls, count) = form.calls()?;
        // What it says is looked at before something is added to it.
        let _: BpfMap = compile_from_json(text.as_bytes(), TargetArch::x86_64)?;
        let compiled: BpfMap = compile_from_json(with_clone3(text)?.as_bytes(), TargetArch::x86_64)?;
        let program = compiled.into_values().next().ok_or(ListError::Filters(0))?;
        let length = program.len();
        let filter = Filter::new(&program).ok_or(ListError::TooLong(length))?;
        Ok(Self { filter, calls, count })
    }
}

/// To everything in a sandbox clone3 does not exist (ENOSYS), at which libraries fall back to clone. Of two filters that have a
/// call fail the later one says how, and at another error libraries give up: so the later one leaves it to the earlier.
fn with_clone3(text: &str) -> serde_json::Result<String> {
    let mut tree: serde_json::Value = serde_json::from_str(text)?;
    let filters = tree.as_object_mut().into_iter().flat_map(|tree| tree.values_mut());
    for rules in filters.filter_map(|filter| filter.get_mut("filter")?.as_array_mut()) {
        if !rules.iter().any(|rule| rule.get("syscall").is_some_and(|call| call == "clone3")) {
            rules.push(serde_json::json!({ "syscall": "clone3" }));
        }
    }
    serde_json::to_string(&tree)
}

impl Form {
    fn check_actions(&self) -> Result<(), ListError> {
        if self.match_action != Word::Allow {
            return Err(ListError::NotAllowing);
        }
        let stops = match &self.mismatch_action {
            Otherwise::Word(word) => matches!(word, Word::KillProcess | Word::KillThread | Word::Trap),
            // 0 would be a call that was not made and did not fail; from 4096 on the kernel cuts it off (seccomp(2)).
            Otherwise::Number(number) => {
                matches!(number.iter().next(), Some((Word::Errno, 1..4096))) && number.len() == 1
            }
        };
        if stops { Ok(()) } else { Err(ListError::Mismatch) }
    }

    fn calls(&self) -> Result<(CallSet, usize), ListError> {
        let mut named: BTreeMap<&str, bool> = BTreeMap::new();
        let mut calls = CallSet::NONE;
        for Rule { syscall, args } in &self.filter {
            let number = workload::number(syscall).ok_or_else(|| ListError::Never(syscall.clone()))?;
            let always = args.as_ref().is_none_or(Vec::is_empty);
            // The compiler would take the conditions and forget that there was a rule without.
            if *named.entry(syscall).or_insert(always) != always {
                return Err(ListError::Both(syscall.clone()));
            }
            calls.add(number);
        }
        match NEEDED.into_iter().find(|call| named.get(call) != Some(&true)) {
            Some(call) => Err(ListError::Needed(call)),
            None => Ok((calls, named.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(mismatch: &str, matched: &str, rules: &str) -> Result<List, ListError> {
        let needed = NEEDED.map(|call| format!("{{\"syscall\": \"{call}\"}}")).join(",");
        List::compile(&format!(
            "{{\"x\": {{\"mismatch_action\": {mismatch}, \"match_action\": {matched}, \"filter\": [{needed}{rules}]}}}}"
        ))
    }

    fn with(rules: &str) -> Result<List, ListError> {
        list("{\"errno\": 1}", "\"allow\"", rules)
    }

    /// The numbers are those of the kernel's own table (arch/x86/entry/syscalls/syscall_64.tbl).
    #[test]
    fn what_is_named_is_allowed() {
        let list = with(
            r#", {"syscall": "read"}, {"syscall": "socket", "comment": "local ones",
            "args": [{"index": 0, "type": "dword", "op": "eq", "val": 1}]}"#,
        )
        .unwrap();
        assert_eq!(list.count, 5);
        let named: Vec<i64> = (0..512).filter(|call| list.calls.has(*call)).collect();
        assert_eq!(named, [0, 41, 59, 60, 231]);
        assert!(!list.calls.has(-1) && !list.calls.has(512));
    }

    #[test]
    fn a_list_that_would_let_more_through_than_it_names_is_none() {
        for other in ["\"allow\"", "\"log\"", "{\"trace\": 1}", "{\"errno\": 0}", "{\"errno\": 4096}", "{}"] {
            assert!(matches!(list(other, "\"allow\"", ""), Err(ListError::Mismatch)), "{other}");
        }
        for action in ["{\"errno\": 1}", "\"log\"", "\"trap\""] {
            assert!(list(action, "\"kill_process\"", "").is_err(), "{action}");
        }
        for good in ["{\"errno\": 38}", "\"kill_process\"", "\"kill_thread\"", "\"trap\""] {
            list(good, "\"allow\"", "").unwrap();
        }
    }

    #[test]
    fn what_no_sandbox_may_call_no_list_allows() {
        for call in ["ptrace", "mount", "bpf", "unshare", "io_uring_setup", "no_such_call", "SYS_read", ""] {
            let rule = format!(", {{\"syscall\": \"{call}\"}}");
            assert!(matches!(with(&rule), Err(ListError::Never(name)) if name == call), "{call}");
        }
    }

    /// seccompiler keeps the rule with conditions and forgets the one without.
    #[test]
    fn a_call_is_not_named_with_conditions_and_without() {
        let condition =
            r#"{"syscall": "kill", "args": [{"index": 1, "type": "dword", "op": "eq", "val": 0}]}"#;
        for rules in [
            format!(r#", {{"syscall": "kill"}}, {condition}"#),
            format!(r#", {condition}, {{"syscall": "kill"}}"#),
        ] {
            assert!(matches!(with(&rules), Err(ListError::Both(call)) if call == "kill"), "{rules}");
        }
        with(&format!(", {condition}, {condition}")).unwrap();
    }

    #[test]
    fn what_every_command_needs_has_to_be_there() {
        for call in NEEDED {
            let rules = NEEDED.iter().filter(|name| **name != call);
            let rules =
                rules.map(|name| format!("{{\"syscall\": \"{name}\"}}")).collect::<Vec<_>>().join(",");
            let text = format!(
                r#"{{"x": {{"mismatch_action": "trap", "match_action": "allow", "filter": [{rules}]}}}}"#
            );
            assert!(matches!(List::compile(&text), Err(ListError::Needed(name)) if name == call), "{call}");
        }
    }

    #[test]
    fn it_is_one_list_and_of_the_form() {
        assert!(matches!(List::compile("{}"), Err(ListError::Filters(0))));
        for bad in ["", "[]", "{\"x\": 1}", "{\"x\": {}}"] {
            assert!(List::compile(bad).is_err(), "{bad}");
        }
        // A key that nobody knows may be a condition that nobody keeps.
        assert!(matches!(with(r#", {"syscall": "read", "arg": []}"#), Err(ListError::Compiler(_))));
        assert!(matches!(
            with(r#", {"syscall": "read", "args": [{"index": 9, "type": "dword", "op": "eq", "val": 0}]}"#),
            Err(ListError::Compiler(_))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_not(text in "[{}\\[\\]\":,a-z0-9_ ]{0,200}") {
            let _ = List::compile(&text);
        }
    }
}
