//! What people are told.

use super::{Asked, policy, rule};
use crate::{explain, smallest_rule};

#[test]
fn an_explanation_names_the_first_condition_that_failed() {
    let rules =
        rule("ls", "allow = [\"exec\"]\nargv = [[\"ls\", \"**\"]]\nlabels = { untrusted = [\"workspace\"] }")
            + &rule("web", "deny = [\"fetch\"]");
    let policy = policy(&rules);
    let text = |asked: Asked| asked.with(|query| explain(&policy, query).to_string());
    let shown = text(Asked::line("exec -- cat x"));
    assert!(shown.contains("deny: no rule speaks for it"), "{shown}");
    assert!(shown.contains("argv: wanted `ls **`, found `cat` `x`"), "{shown}");
    assert!(shown.contains("argv = [[\"cat\", \"x\"]]"), "{shown}");
    let shown = text(Asked::line("exec -- ls").label(&["web:example.org"], &[]));
    assert!(shown.contains("labels.untrusted: wanted workspace, found web:example.org"), "{shown}");
    let shown = text(Asked::words(&["exec", "--", "/workspace/\u{1b}ls"]));
    assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}'), "{shown}");
    assert!(shown.contains("ask = [\"exec\"]"), "{shown}");
    let shown = text(Asked::line("fetch GET http://a/"));
    assert!(shown.contains("deny by \"web\"") && !shown.contains("smallest"), "{shown}");
}

#[test]
fn an_explanation_says_what_was_lifted_and_what_is_wanted() {
    let rules = rule("a", "ask = [\"send\"]\nunless = { grounded = [\"recipient\"] }")
        + &rule("b", "ask = [\"send\"]\napprover = { group = 27 }\napprovers = 2\nwhy = \"not {untrusted}\"");
    let mut asked = Asked::line("send chat anna").label(&["web:x"], &[]);
    asked.grounded = [crate::Argument::Recipient].into_iter().collect();
    let shown = asked.with(|query| explain(&policy(&rules), query).to_string());
    for line in ["ask by \"b\"", "not web:x", "2 of group 27 within 120 seconds", "lifted: a (you typed it"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn the_smallest_rule_is_one_for_exactly_this() {
    let asked = Asked::words(&["exec", "--env", "LANG=C", "--", "ls", "a*b", "c\\\"\n"])
        .label(&["workspace:/w"], &[]);
    assert_eq!(
        asked.with(smallest_rule),
        r#"[[rule]]
name = "exec ls a*b c\\\\\"\\n"
allow = ["exec"]
argv = [["ls", "a\\*b", "c\\\\\"\u000A"]]
cwd = "/workspace"
stdin = "empty"
env = ["LANG"]
role = "agent"
uid = 1000
profile = "default"
isolation = "gvisor"
labels = { untrusted = ["workspace"], private = false }
"#
    );
}

#[test]
fn the_smallest_rule_asks_where_none_should_allow() {
    for (line, untrusted, private, want) in [
        ("fetch GET https://example.org/a", &[][..], &["vault"][..], "allow"),
        ("fetch GET https://example.org/a", &["web"], &["vault"], "ask"),
        ("apply notes.txt", &["web"], &["vault"], "ask"),
        ("read notes.txt", &["web"], &["vault"], "allow"),
        ("exec -- make", &[], &[], "ask"),
        ("exec -- /workspace/x", &[], &[], "ask"),
    ] {
        let asked = Asked::line(line).label(untrusted, private);
        assert_eq!(asked.verdict(&policy(&asked.with(smallest_rule))), want, "{line}");
    }
}

#[test]
fn what_no_rule_can_name_gets_none() {
    for words in [
        &["fetch", "GET", "http://0x7f.1/"][..],
        &["connect", "a b", "80"],
        &["read", "/a/../b"],
        &["exec", "--"],
        &["exec", "--", ""],
        &["exec", "--", "ls", "a\0b"],
        &["fetch", "get", "http://a/"],
        &["send", "chat", ""],
    ] {
        let text = Asked::words(words).with(smallest_rule);
        assert!(text.starts_with("# no rule can name this action: "), "{words:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
