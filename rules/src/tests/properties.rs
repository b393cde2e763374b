//! Properties over many rules and queries, small enough a world that rules often meet.

use super::{Asked, load, policy};
use crate::{
    Argument, Case, Decision, Grounded, KeyFile, Policy, Profile, Role, SourceFile, Verdict, decide, explain,
    smallest_rule,
};
use closedpaw_protocol::{Label, Source, SourceKind, Tier};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Lines that may stand in a rule; which of them fit together the reader says.
const CONDITIONS: &[&str] = &[
    "argv = [[\"aa\", \"**\"]]",
    "argv = [[\"aa\", \"-l\"], [\"ab\"]]",
    "argv = [[\"zz*\", \"*\"]]",
    "argv = [[\"/usr/bin/aa\"]]",
    "argv = [[\"/usr/*\", \"**\"]]",
    "cwd = \"/workspace/**\"",
    "env = [\"LANG\"]",
    "env = [\"LC_*\", \"TZ\"]",
    "stdin = \"empty\"",
    "path = \"/workspace/**\"",
    "path = [\"/workspace/a\", \"a*\"]",
    "path = \"*b\"",
    "host = [\"a.org\", \"10.0.0.0/8\"]",
    "host = \"*.org\"",
    "host = \"*\"",
    "port = [22, \"80-90\"]",
    "role = \"agent\"",
    "uid = [1000, 7]",
    "group = 27",
    "isolation = [\"process\", \"gvisor\"]",
    "isolation = \"kata\"",
    "labels = { untrusted = true }",
    "labels = { untrusted = false }",
    "labels = { untrusted = [\"web\"] }",
    "labels = { private = [\"vault\", \"workspace\"], untrusted = [\"web\", \"workspace\"] }",
    "limits = { seconds = 5 }",
    "limits = { output = 7, seconds = 9 }",
    "unless = { allowed = true }",
    "unless = { grounded = [\"host\", \"path\"] }",
    "approver = 7",
    "approver = { group = 27 }",
    "lease = true",
    "wait = 9",
    "why = \"{untrusted}, {private}\"",
];

const QUERIES: &[&str] = &[
    "exec -- aa",
    "exec -- aa -l",
    "exec -- ab",
    "exec -- /usr/bin/aa",
    "exec -- zzz x",
    "exec --env LANG=C -- aa -l",
    "exec --env TZ=U --env LC_X=y -- aa",
    "exec --cwd /workspace/x -- ab",
    "exec -- /workspace/aa",
    "exec --stdin live -- bash /usr/x",
    "exec --stdin terminal -- ab",
    "read /workspace/a",
    "read a",
    "read ./a/../b",
    "read /workspace//b",
    "apply a b",
    "apply ab",
    "fetch GET http://a.org/",
    "fetch GET http://b.org:81/ab",
    "fetch GET http://10.1.1.1/workspace/a",
    "fetch POST http://0xa.1/",
    "connect A.ORG. 22",
    "connect 1.2.3.4 80",
    "connect a..b 80",
];

/// One rule that the reader takes. Its name is put in later.
fn a_rule() -> impl Strategy<Value = String> {
    let verdict = select(&["allow", "ask", "deny"][..]);
    let actions = subsequence(&["exec", "read", "apply", "fetch", "connect"][..], 1..3);
    let conditions = prop::collection::vec(select(CONDITIONS), 0..3);
    (verdict, actions, conditions).prop_filter_map(
        "the reader takes it",
        |(verdict, actions, mut conditions)| {
            conditions.sort_unstable();
            conditions.dedup_by_key(|line| line.split(' ').next().unwrap_or_default().to_owned());
            let lines = format!("{verdict} = {actions:?}\n{}\n", conditions.join("\n"));
            load(&format!("[[rule]]\nname = \"x\"\n{lines}")).is_ok().then_some(lines)
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(a_rule(), 1..8).prop_map(|bodies| {
        let named = bodies.into_iter().enumerate();
        named.map(|(n, body)| format!("[[rule]]\nname = \"rule {n}\"\n{body}")).collect()
    })
}

fn label() -> impl Strategy<Value = Label> {
    let side = || {
        subsequence(&[SourceKind::Workspace, SourceKind::Web, SourceKind::Vault][..], 0..3).prop_map(
            |kinds| kinds.into_iter().map(|kind| Source { kind, name: "x".into() }).collect::<Vec<_>>(),
        )
    };
    (side(), side()).prop_map(|(untrusted, private)| Label::new(untrusted, private))
}

prop_compose! {
    fn asked()(
        line in select(QUERIES), uid in select(&[1000, 7, 8][..]), group in select(&[27, 28][..]),
        role in select(&[Role::Agent, Role::Approver][..]), tier in select(&[Tier::Process, Tier::Gvisor, Tier::Kata][..]),
        label in label(), typed in subsequence(Argument::ALL, 0..3),
        approvals in subsequence(&[(1000u32, 1u32), (7, 1), (9, 27)][..], 0..3),
    ) -> Asked {
        let mut asked = Asked::line(line);
        asked.action.isolation = tier;
        Asked {
            uid, groups: vec![group], role, label, grounded: typed.into_iter().collect(),
            approvals: approvals.into_iter().map(|(uid, gid)| (uid, vec![gid])).collect(), ..asked
        }
    }
}

/// The same rules in other files and another order.
fn loaded(rules: &[String], files: usize) -> Policy {
    let mut texts = vec!["version = 1\n".to_owned(); files];
    for (n, rule) in rules.iter().enumerate() {
        texts[n % files].push_str(rule);
    }
    let names: Vec<String> = (0..files).map(|n| format!("{n}.toml")).collect();
    let sources: Vec<SourceFile<'_>> =
        names.iter().zip(&texts).map(|(name, text)| SourceFile { name, text }).collect();
    Policy::parse(&sources).unwrap().policy
}

fn default_deny(decision: &Decision) -> bool {
    decision.verdict == Verdict::Deny { default: true }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_of_rules_and_files_never_matters(
        (rules, shuffled) in rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        files in 1..4usize, queries in prop::collection::vec(asked(), 8),
    ) {
        let (one, two) = (loaded(&rules, 1), loaded(&shuffled, files));
        for asked in &queries {
            prop_assert_eq!(asked.decide(&one), asked.decide(&two));
        }
    }

    /// The whole decides as its parts, each alone, taken together by precedence.
    #[test]
    fn deny_over_ask_over_allow(rules in rules(), asked in asked()) {
        let whole = asked.decide(&policy(&rules.concat()));
        // An `ask` that only stands aside says nothing alone; a rule beside a blanket `allow` shows what it restricts.
        let alone: Vec<Decision> = rules.iter().map(|rule| asked.decide(&policy(rule))).collect();
        let denied = alone.iter().any(|one| one.verdict == Verdict::Deny { default: false });
        let asks = alone.iter().any(|one| matches!(one.verdict, Verdict::Ask(_)));
        let speaks_for = alone.iter().any(|one| one.is_allowed() || matches!(one.verdict, Verdict::Ask(_)));
        prop_assert_eq!(whole.verdict == Verdict::Deny { default: false }, denied);
        prop_assert_eq!(default_deny(&whole), !denied && !speaks_for);
        if whole.is_allowed() {
            // Whatever asks alone has been lifted by standing aside.
            let aside = |name: &str| whole.satisfied.iter().any(|one| &*one.rule == name);
            for (n, one) in alone.iter().enumerate().filter(|(_, one)| matches!(one.verdict, Verdict::Ask(_))) {
                prop_assert!(aside(&format!("rule {n}")), "{one:?}");
            }
        }
        if matches!(whole.verdict, Verdict::Ask(_)) && !asks {
            // Some `ask` restricts here without being able to permit.
            prop_assert!(alone.iter().any(Decision::is_allowed));
        }
    }

    /// Labels only rise, and what was asked or denied is not allowed because of it.
    #[test]
    fn a_rise_of_the_label_allows_nothing(rules in rules(), mut asked in asked(), more in label()) {
        asked.approvals.clear();
        asked.grounded = Grounded::NONE;
        let policy = policy(&rules.concat());
        let before = asked.decide(&policy);
        asked.label = asked.label.join(&more);
        let after = asked.decide(&policy);
        prop_assert!(before.is_allowed() || !after.is_allowed(), "{before:?} {after:?}");
        let denied = Verdict::Deny { default: false };
        prop_assert!(before.verdict != denied || after.verdict == denied, "no deny is outgrown");
    }

    #[test]
    fn a_rule_warned_of_changes_no_verdict(rules in rules(), queries in prop::collection::vec(asked(), 20)) {
        let loaded = load(&rules.concat()).unwrap();
        for warning in &loaded.warnings {
            let line = rules.concat().lines().nth(warning.line as usize - 2).unwrap().to_owned();
            let without: String = rules.iter().filter(|rule| !rule.contains(&line)).cloned().collect();
            let without = policy(&without);
            for asked in &queries {
                prop_assert_eq!(asked.verdict(&loaded.policy), asked.verdict(&without), "{}: {:?}", warning, asked);
            }
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(rules in rules(), asked in asked()) {
        let policy = policy(&rules.concat());
        asked.with(|query| {
            let explanation = explain(&policy, query);
            let decision = decide(&policy, query);
            let mut matched: Vec<_> = decision.also_matched.iter().chain(&decision.rule).cloned().collect();
            matched.sort();
            let mut reported: Vec<_> = explanation
                .rules
                .iter()
                .filter(|one| matches!(one.outcome, crate::Outcome::Matched | crate::Outcome::OnlyAsks(_)))
                .map(|one| one.name.clone())
                .collect();
            reported.sort();
            prop_assert_eq!(reported, matched);
            prop_assert_eq!(explanation.smallest.is_some(), default_deny(&decision));
            prop_assert!(!explanation.to_string().is_empty());
            prop_assert_eq!(explanation.decision, decision);
            Ok(())
        })?;
    }

    #[test]
    fn the_smallest_rule_permits_its_action_and_no_neighbour(asked in asked(), other in asked()) {
        let text = asked.with(smallest_rule);
        if text.starts_with('#') {
            prop_assert!(load(&text).unwrap().policy.is_empty());
            return Ok(());
        }
        let policy = policy(&text);
        let decision = asked.decide(&policy);
        prop_assert!(decision.rule.is_some(), "{text}");
        prop_assert!(!text.contains("**"));
        let same = asked.action.effect == other.action.effect && asked.action.isolation == other.action.isolation
            && asked.uid == other.uid && asked.role == other.role;
        if other.decide(&policy).rule.is_some() && !same {
            // Only spellings of one host are one.
            prop_assert_eq!(asked.action.effect.name(), other.action.effect.name(), "{}", text);
        }
    }

    #[test]
    fn words_survive_in_the_smallest_rule(words in prop::collection::vec("[ -~*\\\\\"é\n]{0,6}", 1..5)) {
        let mut line = vec!["exec", "--"];
        line.extend(words.iter().map(String::as_str));
        let asked = Asked::words(&line);
        let text = asked.with(smallest_rule);
        if !text.starts_with('#') {
            prop_assert!(asked.decide(&policy(&text)).rule.is_some(), "{}", text);
            let mut other = line.clone();
            other.push("more");
            prop_assert!(default_deny(&Asked::words(&other).decide(&policy(&text))));
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,200}") {
        read_everything(&text);
    }

    #[test]
    fn no_damage_to_a_file_makes_a_reader_panic(rules in rules(), at in any::<prop::sample::Index>(), drop in 0..30usize, put in "[\\PC\n]{0,8}") {
        let text = format!("version = 1\n{}", rules.concat());
        let letters: Vec<char> = text.chars().collect();
        let at = at.index(letters.len());
        let damaged: String = letters[..at].iter().copied().chain(put.chars()).chain(letters.iter().skip(at + drop).copied()).collect();
        read_everything(&damaged);
    }

    #[test]
    fn no_tree_makes_a_reader_panic(lines in prop::collection::vec(a_line(), 0..12)) {
        read_everything(&lines.join("\n"));
    }
}

/// Lines with the right keys and any value.
fn a_line() -> impl Strategy<Value = String> {
    let keys = [
        "name",
        "allow",
        "ask",
        "deny",
        "argv",
        "cwd",
        "path",
        "host",
        "port",
        "method",
        "verb",
        "env",
        "stdin",
        "uid",
        "group",
        "role",
        "isolation",
        "labels",
        "unless",
        "approver",
        "approvers",
        "wait",
        "lease",
        "limits",
        "why",
        "version",
        "public",
        "expires",
        "require",
        "environment",
        "mounts",
        "action",
        "actions",
        "expect",
        "label",
        "subject",
    ];
    let values = [
        "1",
        "-1",
        "1.5",
        "true",
        "[]",
        "[[]]",
        "{}",
        "\"\"",
        "\"read\"",
        "[\"read\"]",
        "[\"exec\"]",
        "[[\"ls\", \"**\"]]",
        "\"**\"",
        "[1, \"a\", [], {}]",
        "{ group = 1 }",
        "{ untrusted = true }",
        "99999999999999999999",
        "2030-01-01T00:00:00Z",
        "2030-01-01",
        "{ grounded = [\"host\"] }",
        "\"\\u0000\"",
        "[\"10.0.0.0/8\", \"::/0\"]",
        "\"*\"",
        "[[\"*\"]]",
        "'\\'",
        "nan",
        "0x10",
    ];
    let head = select(&["[[rule]]", "[[profile]]", "[[case]]", "version = 1", "[rule]", ""][..])
        .prop_map(str::to_owned);
    let pair =
        (select(keys.to_vec()), select(values.to_vec())).prop_map(|(key, value)| format!("{key} = {value}"));
    prop_oneof![1 => head, 4 => pair]
}

fn read_everything(text: &str) {
    let file = SourceFile { name: "x.toml", text };
    let _ = Policy::parse(&[file]).map(|loaded| loaded.policy.len());
    let _ = Profile::parse(&[file]);
    let _ = KeyFile::parse(&file);
    let _ = Case::parse(&file);
}
