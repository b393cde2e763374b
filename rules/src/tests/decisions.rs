//! Precedence, questions, what lifts them, and what a decision carries.

use super::{Asked, policy, rule};
use crate::{Approver, Argument, Limits, Role, SatisfiedBy, Verdict, Want};
use closedpaw_protocol::{Digest, Effect, Tier};

fn limits(seconds: u32, output: u64) -> Limits {
    Limits { seconds: Some(seconds), output: Some(output) }
}

#[test]
fn what_no_rule_speaks_for_is_denied() {
    let decision = Asked::line("read /a").decide(&policy(""));
    assert_eq!(decision.verdict, Verdict::Deny { default: true });
    assert_eq!((decision.rule, decision.why), (None, None));
}

#[test]
fn deny_beats_ask_beats_allow() {
    let (allow, ask, deny) =
        (rule("c", "allow = [\"read\"]"), rule("b", "ask = [\"read\"]"), rule("a", "deny = [\"read\"]"));
    let asked = Asked::line("read /a").approved(1000, &[]);
    let decision = asked.decide(&policy(&[allow.clone(), ask.clone(), deny].concat()));
    assert_eq!((decision.verdict, decision.rule.as_deref()), (Verdict::Deny { default: false }, Some("a")));
    let names: Vec<_> = decision.also_matched.iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["b", "c"]);
    let decision = Asked::line("read /a").decide(&policy(&[allow, ask].concat()));
    assert_eq!((decision.verdict.name(), decision.rule.as_deref()), ("ask", Some("b")));
}

#[test]
fn a_lifted_ask_permits_by_itself() {
    let policy = policy(&rule("it", "ask = [\"read\"]\nlimits = { seconds = 5 }"));
    let decision = Asked::line("read /a").approved(1000, &[]).decide(&policy);
    assert_eq!(decision.verdict, Verdict::Allow { limits: Limits { seconds: Some(5), output: None } });
    assert_eq!(decision.rule.as_deref(), Some("it"));
    assert_eq!(decision.satisfied[0].by, SatisfiedBy::Approvals(vec![1000]));
}

#[test]
fn an_approval_counts_until_its_end() {
    let policy = policy(&rule("it", "ask = [\"read\"]"));
    let asked = Asked::line("read /a").approved(1000, &[]);
    asked.with(|query| {
        let late = crate::Query { now: 11, ..*query };
        assert_eq!(crate::decide(&policy, query).verdict.name(), "allow");
        assert_eq!(crate::decide(&policy, &late).verdict.name(), "ask");
    });
}

#[test]
fn only_those_named_answer() {
    for (line, yes, no) in [
        ("", &[(1000, 5)][..], &[(1001, 1000)][..]),
        ("approver = \"self\"", &[(1000, 5)], &[(0, 0)]),
        ("approver = 7", &[(7, 5)], &[(1000, 7)]),
        ("approver = { group = 27 }", &[(1001, 27)], &[(27, 28)]),
        ("approver = { group = 27 }\napprovers = 2", &[(1001, 27), (1002, 27)], &[(1001, 27), (1001, 27)]),
        ("approver = { group = 27 }\napprovers = 2", &[(1, 27), (2, 27), (3, 4)], &[(1, 27), (2, 4)]),
    ] {
        let policy = policy(&rule("it", &format!("ask = [\"read\"]\n{line}")));
        let approved = |by: &[(u32, u32)]| {
            by.iter().fold(Asked::line("read /a"), |asked, (uid, gid)| asked.approved(*uid, &[*gid]))
        };
        assert_eq!(approved(yes).verdict(&policy), "allow", "{line} {yes:?}");
        assert_eq!(approved(no).verdict(&policy), "ask", "{line} {no:?}");
    }
}

#[test]
fn several_asks_make_one_question() {
    let rules = rule("a", "ask = [\"read\"]\nwait = 300\nlease = true")
        + &rule(
            "b",
            "ask = [\"read\"]\napprover = { group = 27 }\napprovers = 2\nwait = 60\nwhy = \"two of us\"",
        )
        + &rule("c", "ask = [\"read\"]");
    let policy = policy(&rules);
    let asked = Asked::line("read /a");
    let decision = asked.decide(&policy);
    let Verdict::Ask(question) = &decision.verdict else { panic!() };
    let (own, group) = (
        Want { approver: Approver::Asker, approvers: 1 },
        Want { approver: Approver::Group(27), approvers: 2 },
    );
    assert_eq!((question.wants.as_slice(), question.wait, question.lease), (&[own, group][..], 60, false));
    assert_eq!((decision.rule.as_deref(), decision.why.as_deref()), (Some("b"), Some("two of us")));
    // What is answered is wanted no more.
    let half = asked.clone().approved(1000, &[]);
    let Verdict::Ask(question) = half.decide(&policy).verdict else { panic!() };
    assert_eq!(question.wants, [group]);
    half.with(|query| {
        assert!(
            question.may_answer(&query.subject, 5, &[27]) && !question.may_answer(&query.subject, 1000, &[])
        );
        assert!(!question.is_answered(&query.subject, query.approvals, query.now));
    });
    let all = half.approved(1, &[27]).approved(2, &[27]);
    assert_eq!(all.verdict(&policy), "allow");
}

#[test]
fn defaults_are_one_yes_of_ones_own_within_two_minutes_and_no_lease() {
    let decision = Asked::line("read /a").decide(&policy(&rule("it", "ask = [\"read\"]")));
    let Verdict::Ask(question) = decision.verdict else { panic!() };
    assert_eq!(question.wants, [Want { approver: Approver::Asker, approvers: 1 }]);
    assert_eq!((question.wait, question.lease), (120, false));
}

#[test]
fn the_roomiest_allow_carries() {
    let rules = rule("a", "allow = [\"read\"]\nlimits = { seconds = 5, output = 10 }")
        + &rule("b", "allow = [\"read\"]\nlimits = { seconds = 9, output = 1 }")
        + &rule("c", "allow = [\"read\"]\nlimits = { seconds = 9, output = 1 }");
    let decision = Asked::line("read /a").decide(&policy(&rules));
    assert_eq!(decision.verdict, Verdict::Allow { limits: limits(9, 1) });
    assert_eq!(decision.rule.as_deref(), Some("b"));
}

#[test]
fn lifted_asks_bound_with_the_tightest_of_their_limits() {
    let rules = rule("a", "ask = [\"read\"]\nlimits = { seconds = 5, output = 10 }")
        + &rule("b", "ask = [\"read\"]\nlimits = { seconds = 9, output = 1 }")
        + &rule("c", "allow = [\"read\"]");
    let decision = Asked::line("read /a").approved(1000, &[]).decide(&policy(&rules));
    assert_eq!(decision.verdict, Verdict::Allow { limits: limits(5, 1) });
}

#[test]
fn an_ask_for_the_rest_stands_aside_for_an_allow() {
    let rules = rule("rest", "ask = [\"read\"]\nunless = { allowed = true }\nlimits = { seconds = 1 }")
        + &rule("some", "allow = [\"read\"]\npath = \"/a\"\nlimits = { seconds = 7 }");
    let policy = policy(&rules);
    let decision = Asked::line("read /a").decide(&policy);
    assert_eq!(decision.verdict, Verdict::Allow { limits: Limits { seconds: Some(7), output: None } });
    assert_eq!(decision.rule.as_deref(), Some("some"));
    assert_eq!(decision.satisfied[0].by, SatisfiedBy::Allowed);
    assert_eq!(Asked::line("read /b").verdict(&policy), "ask");
    assert_eq!(Asked::line("read /b").approved(1000, &[]).verdict(&policy), "allow");
}

#[test]
fn every_argument_the_action_has_must_be_typed() {
    let policy = policy(&rule(
        "it",
        "ask = [\"send\", \"apply\", \"fetch\"]\nunless = { grounded = [\"recipient\", \"channel\", \"host\"] }",
    ));
    let typed = |line: &str, arguments: &[Argument]| {
        let mut asked = Asked::line(line);
        asked.grounded = arguments.iter().copied().collect();
        asked.verdict(&policy)
    };
    assert_eq!(typed("send chat anna", &[Argument::Recipient, Argument::Channel]), "allow");
    assert_eq!(typed("send chat anna", &[Argument::Recipient]), "ask");
    assert_eq!(typed("send chat anna", &[Argument::Host]), "ask");
    assert_eq!(typed("fetch GET http://a/x", &[Argument::Host]), "allow");
    // None of the arguments, so nothing that could have been typed.
    assert_eq!(typed("apply a", Argument::ALL), "ask");
}

#[test]
fn grounding_never_lifts_an_ask_on_something_private() {
    let kinds =
        "[\"fetch\", \"connect\", \"cloud\", \"secret\", \"send\", \"remember\", \"tool\", \"apply\"]";
    let arguments = "[\"host\", \"recipient\", \"path\", \"key\", \"tool\"]";
    let policy = policy(&rule("it", &format!("ask = {kinds}\nunless = {{ grounded = {arguments} }}")));
    for line in [
        "fetch POST http://a/",
        "fetch GET http://a/ --body",
        "fetch GET http://a/ --header A:b",
        "connect a 1",
        "cloud p a m",
        "secret s a",
        "send c r",
        "remember k",
        "tool s t",
        "apply a",
    ] {
        let mut asked = Asked::line(line).label(&["web:x"], &["vault:y"]);
        asked.grounded = Argument::ALL.iter().copied().collect();
        assert_eq!(asked.verdict(&policy), "ask", "{line}");
        let mut public = Asked::line(line).label(&["web:x"], &[]);
        public.grounded = asked.grounded;
        let is_secret = line.starts_with("secret");
        assert_eq!(public.verdict(&policy), if is_secret { "ask" } else { "allow" }, "{line}");
    }
}

#[test]
fn several_paths_are_denied_asked_or_allowed_as_a_whole() {
    let rules = rule("docs", "allow = [\"apply\"]\npath = \"docs/**\"")
        + &rule("hooks", "deny = [\"apply\"]\npath = [\".git/**\", \"*/.git/config\"]")
        + &rule("scripts", "ask = [\"apply\"]\npath = \"*.sh\"");
    let policy = policy(&rules);
    assert_eq!(Asked::line("apply docs/a docs/b").verdict(&policy), "allow");
    assert_eq!(Asked::line("apply docs/a src/b").verdict(&policy), "deny");
    assert_eq!(Asked::line("apply docs/a .git/hooks/x").decide(&policy).rule.as_deref(), Some("hooks"));
    assert_eq!(Asked::line("apply docs/a docs/b.sh").verdict(&policy), "ask");
    assert_eq!(Asked::line("apply docs/a docs/b.sh").approved(1000, &[]).verdict(&policy), "allow");
    // The ask takes only some of it, and nothing permits the rest: a yes could not help.
    let decision = Asked::line("apply src/a src/b.sh").approved(1000, &[]).decide(&policy);
    assert_eq!(decision.verdict, Verdict::Deny { default: true });
}

/// Rows P6, S5: a `deny` is not walked around.
#[test]
fn a_denied_path_is_denied_by_every_spelling() {
    let rules =
        rule("never", "deny = [\"read\", \"apply\"]\npath = [\"/workspace/.git/**\", \"/etc/shadow\"]")
            + &rule("else", "allow = [\"read\", \"apply\"]");
    let policy = policy(&rules);
    for line in [
        "read /workspace/.git/config",
        "read .git/config",
        "read ./.git/config",
        "read a/../.git/config",
        "read /workspace//.git/x",
        "read /workspace/./.git/x",
        "read ../etc/shadow",
        "read /usr/../etc/shadow",
        "apply .git/hooks/x",
        "apply a .git/hooks/x",
    ] {
        assert_eq!(Asked::line(line).verdict(&policy), "deny", "{line}");
    }
    assert_eq!(Asked::line("read /workspace/.github/x").verdict(&policy), "allow");
}

#[test]
fn a_denied_program_is_denied_by_name_and_by_path() {
    let rules =
        rule("no", "deny = [\"exec\"]\nargv = [[\"rm\", \"**\"], [\"/usr/bin/dd\", \"x\"], [\"mk*\"]]")
            + &rule("rest", "ask = [\"exec\"]");
    let policy = policy(&rules);
    for line in [
        "rm",
        "rm -r a",
        "/bin/rm a",
        "/usr/bin/rm",
        "./rm",
        "/usr/../bin/rm",
        "dd x",
        "/bin/dd x",
        "mkfs",
        "/sbin/mkfs",
    ] {
        assert_eq!(Asked::line(&format!("exec -- {line}")).verdict(&policy), "deny", "{line}");
    }
    for line in ["rmdir", "dd", "dd y", "/rm/ls", "mkfs x", "ls rm"] {
        assert_eq!(Asked::line(&format!("exec -- {line}")).verdict(&policy), "ask", "{line}");
    }
    let allow = super::policy(&rule("it", "allow = [\"exec\"]\nargv = [[\"aa\"]]"));
    assert_eq!(Asked::line("exec -- /usr/bin/aa").verdict(&allow), "deny");
}

#[test]
fn a_denied_method_is_denied_in_every_case() {
    let rules = rule("no", "deny = [\"fetch\"]\nmethod = \"POST\"") + &rule("rest", "allow = [\"fetch\"]");
    let policy = policy(&rules);
    assert_eq!(Asked::line("fetch post http://a/").verdict(&policy), "deny");
    assert_eq!(Asked::line("fetch GET http://a/").verdict(&policy), "allow");
}

#[test]
fn a_denied_web_path_is_denied_by_every_spelling() {
    let rules = rule("never", "deny = [\"fetch\"]\npath = [\"/admin\", \"/admin/**\"]")
        + &rule("else", "allow = [\"fetch\"]");
    let policy = policy(&rules);
    for path in [
        "/admin",
        "/admin?x",
        "/admin/x",
        "/%61dmin",
        "/a/../admin",
        "/a/%2e%2e/admin",
        "//admin",
        "/%2561dmin/x",
        "/admin/",
    ] {
        assert_eq!(
            Asked::words(&["fetch", "GET", &format!("http://a{path}")]).verdict(&policy),
            "deny",
            "{path}"
        );
    }
    assert_eq!(Asked::line("fetch GET http://a/administrator").verdict(&policy), "allow");
}

#[test]
fn variables_are_taken_as_a_whole() {
    let allow = rule("it", "allow = [\"exec\"]\nargv = [[\"ls\"]]\nenv = [\"LANG\"]");
    let policy_allow = policy(&allow);
    assert_eq!(Asked::line("exec -- ls").verdict(&policy_allow), "allow");
    assert_eq!(Asked::line("exec --env LANG=C --env TZ=U -- ls").verdict(&policy_allow), "deny");
    let without = policy(&rule("it", "allow = [\"exec\"]\nargv = [[\"ls\"]]"));
    assert_eq!(Asked::line("exec --env LANG=C -- ls").verdict(&without), "deny");
    let with_deny = policy(&(allow + &rule("no", "deny = [\"exec\"]\nenv = [\"LD_*\"]")));
    assert_eq!(Asked::line("exec --env LANG=C -- ls").verdict(&with_deny), "allow");
    assert_eq!(
        Asked::line("exec --env LANG=C --env LD_X=1 -- ls").decide(&with_deny).rule.as_deref(),
        Some("no")
    );
}

/// Rows S3, N1: where a name leads is decided when it is dialled, so the ranges go along.
#[test]
fn denied_addresses_go_into_the_decision() {
    let rules = rule("all", "allow = [\"fetch\", \"connect\"]\nhost = [\"*\", \"10.9.0.0/16\"]")
        + &rule("meta", "deny = [\"fetch\"]\nhost = [\"169.254.0.0/16\", \"localhost\", \"fd00:ec2::/32\"]")
        + &rule("ours", "deny = [\"fetch\"]\nport = 22\nhost = \"10.0.0.0/8\"")
        + &rule("lan", "ask = [\"fetch\"]\nhost = [\"192.168.0.0/16\", \"nas.example\"]");
    let policy = policy(&rules);
    let denied = |line: &str| {
        let decision = Asked::line(line).decide(&policy);
        let ranges: Vec<String> = decision.denied_addresses.iter().map(ToString::to_string).collect();
        (decision.verdict.name(), ranges.join(" "))
    };
    assert_eq!(
        denied("fetch GET http://a/"),
        ("allow", "169.254.0.0/16 192.168.0.0/16 fd00:ec2::/32".into())
    );
    assert_eq!(denied("fetch GET http://a:22/").1, "10.0.0.0/8 169.254.0.0/16 192.168.0.0/16 fd00:ec2::/32");
    assert_eq!(denied("connect a 80"), ("allow", String::new()));
    assert_eq!(denied("fetch GET http://localhost/").0, "deny");
    assert_eq!(denied("fetch GET http://192.168.1.1/").0, "ask");
    assert_eq!(denied("fetch GET http://nas.example/"), ("ask", "169.254.0.0/16 fd00:ec2::/32".into()));
}

/// `process` has no kernel of its own, so only a rule that names it permits work on it.
#[test]
fn the_weakest_tier_must_be_named() {
    for (line, want) in [("", "deny"), ("isolation = [\"process\", \"gvisor\"]", "allow")] {
        let mut asked = Asked::line("exec -- ls");
        asked.action.isolation = Tier::Process;
        let allow = policy(&rule("it", &format!("allow = [\"exec\"]\nargv = [[\"ls\"]]\n{line}")));
        assert_eq!(asked.verdict(&allow), want, "{line}");
        let ask = policy(&rule("it", &format!("ask = [\"exec\"]\n{line}")));
        assert_eq!(asked.verdict(&ask), if want == "deny" { "deny" } else { "ask" });
    }
    let mut log = Asked::line("log");
    (log.action.isolation, log.role) = (Tier::Process, Role::Admin);
    assert_eq!(log.verdict(&policy(&rule("it", "allow = [\"log\"]"))), "allow");
}

#[test]
fn a_program_of_a_writable_layer_is_asked_and_never_allowed() {
    let rules =
        rule("all", "allow = [\"exec\"]\nargv = [[\"aa\", \"**\"], [\"python3\", \"/usr/share/x.py\"]]")
            + &rule("rest", "ask = [\"exec\"]\nunless = { allowed = true }");
    let policy = policy(&rules);
    for (words, want) in [
        (&["exec", "--", "aa", "x"][..], "allow"),
        (&["exec", "--", "python3", "/usr/share/x.py"], "allow"),
        (&["exec", "--stdin", "live", "--", "python3", "/usr/share/x.py"], "ask"),
        (&["exec", "--", "/workspace/aa"], "ask"),
        (&["exec", "--", "aa", "x\0"], "ask"),
        (&["exec", "--"], "ask"),
    ] {
        assert_eq!(Asked::words(words).verdict(&policy), want, "{words:?}");
    }
}

/// What an `ask` touches only by what it may come to, it does not permit: nobody is asked in vain.
#[test]
fn an_ask_permits_only_what_it_takes_at_its_plain_word() {
    let policy = policy(&rule("it", "ask = [\"read\"]\npath = \"/workspace/**\""));
    assert_eq!(Asked::line("read /workspace/a").verdict(&policy), "ask");
    for line in ["read /workspace/b/../a", "read /workspace/../etc/shadow", "read a"] {
        let decision = Asked::line(line).approved(1000, &[]).decide(&policy);
        assert_eq!(decision.verdict, Verdict::Deny { default: true }, "{line}");
    }
}

#[test]
fn no_path_is_no_path_that_a_rule_names() {
    let policy = policy(&rule("it", "allow = [\"apply\"]\npath = \"*\""));
    let mut asked = Asked::line("apply a");
    assert_eq!(asked.verdict(&policy), "allow");
    asked.action.effect = Effect::Apply { generation: 0, diff: Digest([0; 32]), paths: vec![] };
    assert_eq!(asked.verdict(&policy), "deny");
}

#[test]
fn of_several_denials_the_first_by_name_decides() {
    let rules = rule("b", "deny = [\"exec\"]")
        + &rule("a", "deny = [\"exec\"]\nargv = [[\"ls\"]]")
        + &rule("c", "deny = [\"exec\"]");
    assert_eq!(Asked::line("exec -- ls").decide(&policy(&rules)).rule.as_deref(), Some("a"));
    assert_eq!(Asked::line("exec -- cat").decide(&policy(&rules)).rule.as_deref(), Some("b"));
}
