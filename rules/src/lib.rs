//! The policy language: parse, decide, explain.
//!
//! Pure: no I/O, no clock, no `unsafe`. A decision is a total function of a [`Policy`] and a [`Query`]; it cannot fail and
//! does not depend on the order of rules or files.
#![forbid(unsafe_code)]

mod action_words;
mod addresses;
mod cases;
mod condition;
mod decide;
mod decision;
mod explain;
mod facts;
mod hosts;
mod keyfile;
mod load;
mod nearest;
mod origin;
mod paths;
mod pattern;
mod problem;
mod profile;
mod programs;
mod query;
mod read;
mod rule;
mod smallest;
mod template;
#[cfg(test)]
mod tests;
mod variables;
mod vocabulary;

pub use action_words::{WordsError, hypothetical, parse_action_words, usage};
pub use addresses::{Network, NetworkError};
pub use cases::{Case, CaseResult, Expect, parse_source, run_cases};
pub use decide::decide;
pub use decision::{Approver, Decision, Limits, Question, RuleName, Satisfied, SatisfiedBy, Verdict, Want};
pub use explain::{Explanation, Outcome, RuleReport, Unmet, explain};
pub use keyfile::KeyFile;
pub use load::{Loaded, MAX_RULES};
pub use origin::{Origin, origin};
pub use paths::{WORKSPACE, is_plain};
pub use problem::{Code, Problem, SourceFile};
pub use profile::{Commands, Profile, ProfileLimits, Resource, WorkspaceMount};
pub use query::{Approval, Query, Subject};
pub use read::MAX_FILE;
pub use rule::Policy;
pub use smallest::smallest_rule;
pub use vocabulary::{ActionKind, Argument, Grounded, Role};
