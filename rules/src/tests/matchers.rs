//! Each condition alone: a rule that has it matches, and stops matching when that field changes.

use super::{Asked, policy, rule};
use crate::Role;
use crate::condition::Field;
use closedpaw_protocol::Tier;

/// A condition, its action, a query that meets it, and what no longer does.
struct Row {
    line: &'static str,
    action: &'static str,
    meets: &'static str,
    fails: &'static [&'static str],
}

const fn row(
    line: &'static str,
    action: &'static str,
    meets: &'static str,
    fails: &'static [&'static str],
) -> Row {
    Row { line, action, meets, fails }
}

/// Conditions on an effect's own fields.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("argv = [[\"ls\", \"-*\"]]", "exec", "exec -- ls -l", &["exec -- ls", "exec -- ls l", "exec -- cat -l", "exec -- ls -l x"]),
    row("argv = [[\"ls\"]]\ncwd = \"/workspace/**\"", "exec", "exec --cwd /workspace/a -- ls", &["exec --cwd /workspace -- ls", "exec --cwd /tmp -- ls"]),
    row("argv = [[\"ls\"]]\nenv = [\"LANG\", \"LC_*\"]", "exec", "exec --env LC_ALL=C -- ls", &["exec --env LANGUAGE=C -- ls", "exec --env TZ=UTC -- ls"]),
    row("argv = [[\"ls\"]]\nstdin = \"sealed\"", "exec", "exec --stdin sealed -- ls", &["exec -- ls", "exec --stdin live -- ls"]),
    row("argv = [[\"ls\"]]\nstdin = \"terminal\"", "exec", "exec --stdin terminal -- ls", &["exec -- ls", "exec --stdin live -- ls"]),
    row("path = [\"/a/**\", \"*.txt\"]", "read", "read b.txt", &["read b.text", "read /a", "read /ab/c"]),
    row("path = \"/a/**\"", "list", "list /a/b", &["list /b"]),
    row("path = \"/a/**\"", "write", "write /a/b", &["write /b"]),
    row("path = \"a/**\"", "apply", "apply a/b a/c", &["apply b"]),
    row("path = \"/home/u/*\"", "open", "open /home/u/w", &["open /home/v/w"]),
    row("trusted = false", "open", "open /w", &["open /w --trusted"]),
    row("path = \"/data/**\"", "mount", "mount /data/x", &["mount /x"]),
    row("writable = false", "mount", "mount /x", &["mount /x --writable"]),
    row("host = [\"example.org\", \"*.example.net\"]", "fetch", "fetch GET https://a.example.net/", &["fetch GET https://example.net/", "fetch GET https://example.com/"]),
    row("host = \"10.0.0.0/8\"", "connect", "connect 10.1.2.3 22", &["connect 11.1.2.3 22", "connect example.org 22"]),
    row("host = \"example.org\"", "cloud", "cloud p example.org m", &["cloud p example.net m"]),
    row("host = \"example.org\"", "secret", "secret s example.org", &["secret s example.net"]),
    row("port = [22, \"8000-8010\"]", "connect", "connect example.org 8010", &["connect example.org 8011", "connect example.org 23"]),
    row("port = 443", "fetch", "fetch GET https://example.org/", &["fetch GET https://example.org:444/"]),
    row("scheme = \"https\"", "fetch", "fetch GET https://example.org/", &["fetch GET http://example.org/"]),
    row("method = [\"GET\", \"HEAD\"]", "fetch", "fetch HEAD https://example.org/", &["fetch POST https://example.org/"]),
    row("path = \"/api/**\"", "fetch", "fetch GET https://example.org/api/x?y", &["fetch GET https://example.org/apis", "fetch GET https://example.org/"]),
    row("provider = \"one\"", "cloud", "cloud one h m", &["cloud two h m"]),
    row("model = \"small-*\"", "cloud", "cloud p h small-1", &["cloud p h big-1"]),
    row("secret = \"deploy\"", "secret", "secret deploy h", &["secret root h"]),
    row("server = \"calendar\"", "tool", "tool calendar add", &["tool mail add"]),
    row("tool = [\"get*\", \"list\"]", "tool", "tool calendar get_day", &["tool calendar add"]),
    row("channel = \"chat\"", "send", "send chat anna", &["send mail anna"]),
    row("recipient = \"*@example.org\"", "send", "send mail a@example.org", &["send mail a@example.com"]),
    row("skill = \"report\"", "skill", "skill report", &["skill other"]),
    row("verb = [\"list\", \"kill\"]", "sandbox", "sandbox kill", &["sandbox checkpoint"]),
    row("verb = \"reload\"", "admin", "admin reload", &["admin halt"]),
    row("key = \"notes/*\"", "remember", "remember notes/a", &["remember a"]),
];

/// The rule alone, under each verdict; whether it is what decides.
fn decides(verdict: &str, action: &str, line: &str, asked: &Asked) -> bool {
    let policy = policy(&rule("it", &format!("{verdict} = [\"{action}\"]\n{line}")));
    asked.decide(&policy).rule.is_some()
}

const VERDICTS: [&str; 3] = ["allow", "ask", "deny"];

#[test]
fn a_rule_stops_matching_when_the_field_changes() {
    for Row { line, action, meets, fails } in ROWS {
        for verdict in VERDICTS {
            assert!(decides(verdict, action, line, &Asked::line(meets)), "{verdict} {line}: {meets}");
            for fail in *fails {
                assert!(!decides(verdict, action, line, &Asked::line(fail)), "{verdict} {line}: {fail}");
            }
        }
    }
}

/// One change to a query.
type Change = fn(&mut Asked);

/// Conditions on the circumstances: a line, what meets it, what does not.
const CIRCUMSTANCES: &[(&str, Change, &[Change])] = &[
    ("uid = [7, 1000]", |_| {}, &[|q| q.uid = 1001, |q| q.uid = 0]),
    ("group = 27", |q| q.groups = vec![1, 27], &[|q| q.groups = vec![1, 28], |q| q.groups = vec![]]),
    ("role = [\"agent\", \"admin\"]", |_| {}, &[|q| q.role = Role::Approver, |q| q.role = Role::Publisher]),
    ("profile = \"def*\"", |_| {}, &[|q| q.action.profile = "other".into(), |q| q.action.profile.clear()]),
    (
        "isolation = \"kata\"",
        |q| q.action.isolation = Tier::Kata,
        &[|q| q.action.isolation = Tier::Gvisor, |q| q.action.isolation = Tier::Process],
    ),
];

#[test]
fn a_rule_stops_matching_when_the_circumstances_change() {
    for (line, meet, fails) in CIRCUMSTANCES {
        for (verdict, action) in
            VERDICTS.iter().flat_map(|verdict| [(*verdict, "read /a"), (*verdict, "fetch GET http://a/")])
        {
            let kind = action.split(' ').next().unwrap();
            let mut asked = Asked::line(action);
            meet(&mut asked);
            assert!(decides(verdict, kind, line, &asked), "{verdict} {line}");
            for fail in *fails {
                let mut other = asked.clone();
                fail(&mut other);
                assert!(!decides(verdict, kind, line, &other), "{verdict} {line}: {other:?}");
            }
        }
    }
}

#[test]
fn every_field_is_tried_here() {
    let labels = ["labels.untrusted", "labels.private"];
    for field in Field::ALL {
        let in_rows = ROWS.iter().any(|row| row.line.contains(&format!("{} =", field.name())));
        let elsewhere = CIRCUMSTANCES.iter().any(|(line, ..)| line.starts_with(field.name()));
        assert!(in_rows || elsewhere || labels.contains(&field.name()), "{}", field.name());
        for kind in field.kinds().iter().filter(|_| field.kinds().len() < 10) {
            let tried = ROWS
                .iter()
                .any(|row| row.action == kind.name() && row.line.contains(&format!("{} =", field.name())));
            assert!(tried, "{} of {kind}", field.name());
        }
    }
}

/// What each label test makes of each label, by verdict: (labels, clean, workspace, workspace and web).
#[test]
fn labels_are_read_as_the_page_says() {
    let labels: [&[&str]; 3] = [&[], &["workspace"], &["workspace", "web:example.org"]];
    for (verdict, test, want) in [
        ("allow", "false", [true, false, false]),
        ("allow", "[\"workspace\"]", [true, true, false]),
        ("allow", "[\"web\"]", [true, false, false]),
        ("allow", "[\"web\", \"workspace\"]", [true, true, true]),
        ("deny", "true", [false, true, true]),
        ("deny", "[\"web\"]", [false, false, true]),
        ("deny", "[\"web\", \"tool\"]", [false, false, true]),
        ("ask", "true", [false, true, true]),
        ("ask", "false", [true, false, false]),
        ("ask", "[\"workspace\"]", [true, true, false]),
    ] {
        for (sources, want) in labels.iter().zip(want) {
            let line = format!("labels = {{ untrusted = {test} }}");
            let asked = Asked::line("read /a").label(sources, &["vault"]);
            assert_eq!(decides(verdict, "read", &line, &asked), want, "{verdict} {test} {sources:?}");
            let line = format!("labels = {{ private = {test} }}");
            let asked = Asked::line("read /a").label(&["mail"], sources);
            assert_eq!(decides(verdict, "read", &line, &asked), want, "{verdict} {test} {sources:?}");
        }
    }
}

/// A rise of the label must not lift an `ask`: it asks beyond the labels it names, where something else permits.
#[test]
fn an_ask_is_not_outgrown() {
    let both = rule("ask", "ask = [\"read\"]\nlabels = { untrusted = false }")
        + &rule("allow", "allow = [\"read\"]");
    let policy = policy(&both);
    assert_eq!(Asked::line("read /a").verdict(&policy), "ask");
    assert_eq!(Asked::line("read /a").label(&["web:x"], &[]).verdict(&policy), "ask");
}

#[test]
fn a_rule_speaks_only_about_fields_an_action_has() {
    let policy = policy(&rule("it", "allow = [\"list\", \"exec\"]\nargv = [[\"ls\", \"**\"]]"));
    assert_eq!(Asked::line("list /a").verdict(&policy), "allow");
    assert_eq!(Asked::line("exec -- ls").verdict(&policy), "allow");
    assert_eq!(Asked::line("exec -- cat").verdict(&policy), "deny");
    assert_eq!(Asked::line("read /a").verdict(&policy), "deny");
}
