//! What is refused or warned of, where, and with which help.

use super::{load, rule};
use crate::condition::Field;
use crate::vocabulary::Word;
use crate::{ActionKind, Argument, Code, MAX_FILE, MAX_RULES, Policy, Problem, Role, SourceFile};
use closedpaw_protocol::{SourceKind, Tier};

fn problems(rules: &str) -> Vec<Problem> {
    load(rules).expect_err(rules)
}

fn codes(rules: &str) -> Vec<Code> {
    problems(rules).into_iter().map(|problem| problem.code).collect()
}

/// Every way of mistyping a word once: a letter left out, doubled, changed, or swapped with the next.
fn slips(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let mut all = vec![];
    for at in 0..letters.len() {
        let (mut without, mut doubled, mut changed) = (letters.clone(), letters.clone(), letters.clone());
        without.remove(at);
        doubled.insert(at, letters[at]);
        changed[at] = 'q';
        all.extend([without, doubled, changed]);
        if at + 1 < letters.len() {
            let mut swapped = letters.clone();
            swapped.swap(at, at + 1);
            all.push(swapped);
        }
    }
    let texts = all.into_iter().map(|letters| letters.into_iter().collect::<String>());
    texts.filter(|text| text != word && text.len() > 1).collect()
}

/// Whether one slip makes the one word of the other.
fn one_slip(word: &str, other: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), other.chars().collect());
    let without = |long: &[char], short: &[char]| {
        long.len() == short.len() + 1
            && (0..long.len()).any(|at| [&long[..at], &long[at + 1..]].concat() == short)
    };
    let differ: Vec<usize> = (0..a.len().min(b.len())).filter(|at| a[*at] != b[*at]).collect();
    let changed = a.len() == b.len()
        && match differ.as_slice() {
            [_] => true,
            [one, two] => two - one == 1 && a[*one] == b[*two] && a[*two] == b[*one],
            _ => false,
        };
    changed || without(&a, &b) || without(&b, &a)
}

/// For every slip of every word the hint names the word, or another that is one slip away as well.
fn every_slip_is_understood(words: &[&'static str], code: Code, write: impl Fn(&str) -> String) {
    let mut clear = 0;
    for word in words.iter().filter(|word| word.len() > 2) {
        for slip in slips(word).iter().filter(|slip| !words.contains(&slip.as_str())) {
            let found = problems(&write(slip));
            let problem =
                found.iter().find(|one| one.code == code).unwrap_or_else(|| panic!("{slip}: {found:?}"));
            let near: Vec<&&str> = words.iter().filter(|other| one_slip(slip, other)).collect();
            let hint = problem.hint.clone().unwrap_or_default();
            assert!(near.iter().any(|near| hint == format!("did you mean `{near}`?")), "{slip}: {hint}");
            clear += usize::from(near == [word]);
        }
    }
    assert!(clear > 3 * words.len(), "hardly a slip is clear");
}

fn names<W: Word>() -> Vec<&'static str> {
    W::all().map(Word::word).collect()
}

#[test]
fn every_mistyped_key_suggests_the_right_one() {
    let mut keys: Vec<&'static str> =
        Field::ALL.iter().map(|field| field.name()).filter(|name| !name.contains('.')).collect();
    keys.extend([
        "name",
        "labels",
        "allow",
        "ask",
        "deny",
        "unless",
        "approver",
        "approvers",
        "wait",
        "lease",
        "limits",
        "why",
    ]);
    every_slip_is_understood(&keys, Code::UnknownKey, |slip| {
        rule("it", &format!("deny = [\"read\"]\n{slip} = 1"))
    });
}

#[test]
fn every_mistyped_action_suggests_the_right_one() {
    every_slip_is_understood(&names::<ActionKind>(), Code::UnknownAction, |slip| {
        rule("it", &format!("deny = [\"{slip}\"]"))
    });
}

#[test]
fn every_other_mistyped_word_suggests_the_right_one() {
    every_slip_is_understood(&names::<SourceKind>(), Code::UnknownLabel, |slip| {
        rule("it", &format!("ask = [\"read\"]\nlabels = {{ private = [\"{slip}\"] }}"))
    });
    every_slip_is_understood(&names::<Role>(), Code::UnknownWord, |slip| {
        rule("it", &format!("ask = [\"read\"]\nrole = \"{slip}\""))
    });
    every_slip_is_understood(&names::<Tier>(), Code::UnknownWord, |slip| {
        rule("it", &format!("ask = [\"read\"]\nisolation = \"{slip}\""))
    });
    every_slip_is_understood(&names::<Argument>(), Code::UnknownWord, |slip| {
        rule("it", &format!("ask = [\"read\"]\nunless = {{ grounded = [\"{slip}\"] }}"))
    });
    every_slip_is_understood(&["untrusted", "private"], Code::UnknownKey, |slip| {
        rule("it", &format!("ask = [\"read\"]\nlabels = {{ {slip} = true }}"))
    });
    every_slip_is_understood(&["seconds", "output"], Code::UnknownKey, |slip| {
        rule("it", &format!("ask = [\"read\"]\nlimits = {{ {slip} = 1 }}"))
    });
}

#[test]
fn all_problems_of_all_files_are_named_with_their_places() {
    let one = "version = 1\n[[rule]]\nname = \"a\"\nalow = [\"read\"]\n\n[[rule]]\nname = \"b\"\nask = [\"raed\", \"exce\"]\nwait = 0\n";
    let two = "version = 1\n[[rule]]\n  name = \"a\"\n  deny = [\"log\"]\n";
    let three = "version = 1\n[[rule]\n";
    let files = [("one", one), ("two", two), ("three", three)].map(|(name, text)| SourceFile { name, text });
    let found: Vec<String> = Policy::parse(&files)
        .unwrap_err()
        .iter()
        .map(|Problem { code, file, line, column, .. }| format!("{file}:{line}:{column} {code}"))
        .collect();
    let mut sorted = found.clone();
    sorted.sort();
    let want = [
        "one:2:1 one-verdict",
        "one:4:1 unknown-key",
        "one:8:16 unknown-action",
        "one:8:8 unknown-action",
        "three:2:8 syntax",
        "two:3:10 duplicate-name",
    ];
    assert_eq!(sorted, want, "{found:?}");
}

#[test]
fn a_problem_shows_no_foreign_control_characters() {
    let text = rule("it", "deny = [\"\\u001b[2J\"]\n\"k\\ney\" = 1");
    for problem in problems(&text) {
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
    }
}

#[test]
fn sizes_have_bounds() {
    let long = format!("version = 1\n#{}", "x".repeat(MAX_FILE));
    let found = Policy::parse(&[SourceFile { name: "x", text: &long }]).unwrap_err();
    assert_eq!(found.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::FileTooBig]);

    let rules = |count: usize| {
        (0..count).map(|n| rule(&format!("r{n}"), "deny=[\"log\"]\nuid=1")).collect::<String>()
    };
    let half = format!("version = 1\n{}", rules(MAX_RULES / 2));
    let renamed = half.replace("\"r", "\"s");
    let files = [SourceFile { name: "a", text: &half }, SourceFile { name: "b", text: &renamed }];
    assert_eq!(Policy::parse(&files).unwrap().policy.len(), MAX_RULES);
    let more = [
        files[0],
        files[1],
        SourceFile { name: "c", text: "version = 1\n[[rule]]\nname = \"x\"\ndeny = [\"log\"]" },
    ];
    assert_eq!(Policy::parse(&more).unwrap_err()[0].code, Code::TooManyRules);

    let many = format!("version = 1\n{}", "[[rule]]\n".repeat(2000));
    let found = Policy::parse(&[SourceFile { name: "x", text: &many }]).unwrap_err();
    assert_eq!((found.len(), found.last().unwrap().code), (101, Code::TooManyProblems));
}

#[test]
fn a_file_without_rules_is_a_file() {
    assert!(load("").unwrap().policy.is_empty());
    assert!(Policy::parse(&[]).unwrap().policy.is_empty());
    assert_eq!(codes("rule = 1"), [Code::WrongType]);
    assert_eq!(codes("[rule]\nname = \"a\""), [Code::WrongType]);
}

/// The superfluous rules of a policy, by name.
fn unreachable(rules: &[(&str, &str)]) -> Vec<String> {
    let text: String = rules.iter().map(|(name, lines)| rule(name, lines)).collect();
    let warnings = load(&text).unwrap_or_else(|problems| panic!("{problems:#?}")).warnings;
    assert!(warnings.iter().all(|warning| warning.code == Code::Unreachable));
    let lines: Vec<&str> = text.lines().collect();
    // The load prefixes one line.
    warnings
        .iter()
        .map(|warning| {
            lines[warning.line as usize - 2].trim_start_matches("name = ").trim_matches('"').to_owned()
        })
        .collect()
}

#[test]
fn a_rule_that_another_decides_for_is_warned_of() {
    let found = |one, two| unreachable(&[("one", one), ("two", two)]);
    let ls = "allow = [\"exec\"]\nargv = [[\"ls\", \"-l\"]]";
    assert_eq!(found("deny = [\"exec\"]", ls), ["two"]);
    assert_eq!(found("deny = [\"exec\", \"read\"]\nargv = [[\"ls\", \"**\"]]", ls), ["two"]);
    assert_eq!(found("allow = [\"exec\"]\nargv = [[\"ls\", \"**\"]]", ls), ["two"]);
    assert_eq!(found("ask = [\"exec\"]", ls), ["two"]);
    assert_eq!(found(ls, ls), ["two"]);
    assert_eq!(found("deny = [\"fetch\"]\nhost = \"*.org\"", "ask = [\"fetch\"]\nhost = \"a.org\""), ["two"]);
    assert_eq!(
        found(
            "allow = [\"read\"]\nlabels = { untrusted = [\"web\", \"tool\"] }",
            "allow = [\"read\"]\nlabels = { untrusted = [\"web\"] }"
        ),
        ["two"]
    );
}

#[test]
fn a_rule_that_still_decides_something_is_not_warned_of() {
    let found = |one, two| unreachable(&[("one", one), ("two", two)]);
    let ls = "allow = [\"exec\"]\nargv = [[\"ls\", \"**\"]]";
    for (one, two) in [
        ("deny = [\"exec\"]\nuid = 7", ls),
        ("deny = [\"exec\"]\nargv = [[\"ls\", \"-l\"]]", ls),
        ("deny = [\"exec\"]\nenv = \"LANG\"", "allow = [\"exec\"]\nargv = [[\"ls\"]]\nenv = \"LANG\""),
        (
            "deny = [\"read\"]\nlabels = { untrusted = [\"web\"] }",
            "allow = [\"read\"]\nlabels = { untrusted = [\"web\"] }",
        ),
        ("ask = [\"exec\"]\nunless = { allowed = true }", ls),
        ("deny = [\"exec\"]\nargv = [[\"/usr/*\"]]", "deny = [\"exec\"]\nargv = [[\"/usr/bin/rm\"]]"),
        (
            "allow = [\"exec\"]\nargv = [[\"ls\", \"**\"]]\nlimits = { seconds = 1 }",
            "allow = [\"exec\"]\nargv = [[\"ls\"]]",
        ),
        ("ask = [\"exec\"]", "ask = [\"exec\"]\nuid = 7\napprover = 3"),
        ("ask = [\"read\"]", "ask = [\"read\"]\nuid = 7\nwhy = \"because\""),
        ("allow = [\"read\"]", "allow = [\"read\"]\nisolation = [\"process\"]"),
    ] {
        assert_eq!(found(one, two), [""; 0], "{one} / {two}");
    }
}
