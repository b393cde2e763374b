//! Rows P1, P2: nobody but the person answers, and an answer is worth one run of exactly what was asked.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test that cannot go on fails

use closedpaw_protocol::message::{Answer, Event, Question};
use closedpaw_protocol::sign::Context;
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{Action, ApprovalId, Digest, Effect, ErrorCode, Stdin, Tier, encode};
use closedpaw_tests::raw::{Acted, Raw, Session, fresh_key, input, now, yes};
use closedpaw_tests::world::{World, until};

/// Nothing the shipped policy allows by itself.
const ASKED: &[&str] = &["touch", "/tmp/closedpaw-was-here"];

fn ask(session: &mut Session) -> (Action, Question) {
    let action = session.opened.exec(ASKED);
    let question = session.act(&action, None).unwrap().pending();
    (action, question)
}

fn granted(session: &mut Session, world: &World) -> (Action, ApprovalId) {
    let (action, question) = ask(session);
    session.console.approve(&world.person.key(), &question).unwrap();
    (action, question.id)
}

#[track_caller]
fn nothing_ran(world: &World) {
    assert!(world.records().work().is_empty(), "{}", world.records().tail(9));
}

#[track_caller]
fn is_noted(world: &World, uid: u32, code: ErrorCode) {
    until(&format!("a record of {code} for uid {uid}"), || {
        (world.records().refused(uid, code) > 0).then_some(())
    });
}

/// Row P1 (openclaw #8682): the one who asks cannot be the one who approves.
#[test]
fn the_agents_key_cannot_answer() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let refusal = session.agent.answer(&session.key, &yes(&question)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::KeyRole);
    let refusal = session.act(&action, Some(question.id)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalUnknown);
    is_noted(&world, world.person.uid, ErrorCode::KeyRole);
    nothing_ran(&world);
    assert!(world.records().of("answered").is_empty());
    world.verify_audit();
}

/// Row P1 (GHSA-gv46-4xfq-jv58): a key that nobody enrolled is nobody's.
#[test]
fn an_unenrolled_key_cannot_answer() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (_, question) = ask(&mut session);
    let refusal = session.console.answer(&fresh_key(), &yes(&question));
    // The number was spent; the connection goes on.
    assert_eq!(refusal.unwrap_err().code, ErrorCode::UnknownKey);
    is_noted(&world, world.person.uid, ErrorCode::UnknownKey);
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P1: another person's yes is none, with their own key or with a stolen one, and whether there is such a question
/// is not for them to learn.
#[test]
fn another_person_cannot_answer() {
    let world = World::builder().second_key().build();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let mut other = world.other.raw();
    let refusal = other.approve(&world.other.key(), &question).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalUnknown);
    let guess = Answer { id: ApprovalId([7; 16]), ..yes(&question) };
    assert_eq!(
        other.answer(&world.other.key(), &guess).unwrap_err(),
        refusal,
        "an open question is told from none"
    );
    let stolen = other.approve(&world.person.key(), &question).unwrap_err();
    assert_eq!(stolen.code, ErrorCode::WrongUser);
    let refusal = session.act(&action, Some(question.id)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalUnknown);
    is_noted(&world, world.other.uid, ErrorCode::ApprovalUnknown);
    is_noted(&world, world.other.uid, ErrorCode::WrongUser);
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P1: names are not guessed, and one bit beside is as far as any.
#[test]
fn a_guessed_name_answers_nothing() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let key = world.person.key();
    let mut guess = yes(&question);
    guess.id.0[15] ^= 1;
    assert_eq!(session.console.answer(&key, &guess).unwrap_err().code, ErrorCode::ApprovalUnknown);
    assert_eq!(session.act(&action, Some(guess.id)).unwrap_err().code, ErrorCode::ApprovalUnknown);
    is_noted(&world, world.person.uid, ErrorCode::ApprovalUnknown);
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P1: a signature that was made for something else, or for another place, is no answer.
#[test]
fn a_signature_for_something_else_is_no_answer() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (_, question) = ask(&mut session);
    let key = world.person.key();
    let body = encode(&yes(&question)).unwrap();
    for made_for in [Context::Request, Context::Opening, Context::Lease, Context::TypedWords] {
        let mut raw = world.raw();
        let mut signed = raw.signed(&key, made_for, body.clone());
        signed.context = Context::Approval;
        raw.send(&signed, &[]).unwrap();
        raw.ended();
    }
    let mut raw = world.raw();
    let elsewhere = session.console.signed_as(&key, Context::Approval, 0, body);
    raw.send(&elsewhere, &[]).unwrap();
    raw.ended();
    is_noted(&world, world.person.uid, ErrorCode::BadSignature);
    assert!(world.records().of("answered").is_empty());
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P2: the answer names what was shown; one about something else is none.
#[test]
fn an_answer_about_another_action_or_policy_is_refused() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let key = world.person.key();
    let other = session.opened.exec(&["touch", "/tmp/another"]).seal().unwrap().1;
    let mut wrong = [yes(&question), yes(&question), yes(&question)];
    wrong[0].digest = other;
    wrong[1].digest = Digest([0; 32]);
    wrong[2].revision.0[0] ^= 1;
    for answer in &wrong {
        assert_eq!(session.console.answer(&key, answer).unwrap_err().code, ErrorCode::ApprovalMismatch);
    }
    assert_eq!(session.act(&action, Some(question.id)).unwrap_err().code, ErrorCode::ApprovalUnknown);
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P2 (CVE-2026-32065, GHSA-hjvp-qhm6-wrh2): a yes to one action carries no other, and its own exactly once.
#[test]
fn an_approval_is_for_one_run_of_exactly_what_was_asked() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let mut second = Session::open(&world.person);
    let (action, id) = granted(&mut session, &world);
    type Change<'a> = &'a dyn Fn(&mut Vec<String>, &mut String, &mut Vec<(String, String)>, &mut Stdin);
    let exec = |change: Change<'_>| {
        let mut other = action.clone();
        let Effect::Exec { argv, cwd, env, stdin } = &mut other.effect else { unreachable!() };
        change(argv, cwd, env, stdin);
        other
    };
    let (sealed_file, sealed) = input(b"words");
    let rebound = [
        ("argument", exec(&|argv, _, _, _| argv[1].push('2'))),
        ("one more argument", exec(&|argv, _, _, _| argv.push("/tmp/more".into()))),
        ("another split of the same words", exec(&|argv, _, _, _| *argv = vec![argv.join(" ")])),
        ("folder", exec(&|_, cwd, _, _| *cwd = "/tmp".into())),
        ("variable", exec(&|_, _, env, _| env.push(("LANG".into(), "C".into())))),
        ("live input", exec(&|_, _, _, stdin| *stdin = Stdin::Live)),
        (
            "path of a file to read",
            Action { effect: Effect::Read { path: "/etc/../etc/hostname".into() }, ..action.clone() },
        ),
    ];
    for (what, other) in rebound {
        let refusal = session.act(&other, Some(id)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ApprovalMismatch, "another {what}");
    }
    let other = exec(&|_, _, _, stdin| *stdin = Stdin::Sealed(sealed));
    let refusal = session.agent.act(&session.key, &other, Some(id), Some(&sealed_file)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalMismatch, "sealed input");
    for tier in [Tier::Process, Tier::Kata] {
        let refusal = session.act(&Action { isolation: tier, ..action.clone() }, Some(id)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::TierMissing);
    }
    let refusal = session.act(&Action { profile: "looser".into(), ..action.clone() }, Some(id)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::TierMissing);
    // The other session's agent, with the action word for word: under its own session's name, and under the first's.
    let own = second.opened.exec(ASKED);
    assert_eq!(second.act(&own, Some(id)).unwrap_err().code, ErrorCode::ApprovalMismatch);
    assert_eq!(second.act(&action, Some(id)).unwrap_err().code, ErrorCode::UnknownSession);
    nothing_ran(&world);

    // None of that has used it up.
    let (_, _, exit) = session.act(&action, Some(id)).unwrap().running().finish();
    assert_eq!(exit, Exit::Status(0));
    assert_eq!(session.act(&action, Some(id)).unwrap_err().code, ErrorCode::ApprovalUsed);
    assert_eq!(second.act(&own, Some(id)).unwrap_err().code, ErrorCode::ApprovalUsed);
    let work = world.records();
    let work = work.work();
    assert_eq!(work.len(), 1);
    assert_eq!((&work[0]["approval"], &work[0]["verdict"]), (&id.to_string().into(), &"ask".into()));
    world.verify_audit();
}

/// Row P2: two answers to one question are still one run.
#[test]
fn saying_yes_again_does_not_revive_a_used_approval() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let key = world.person.key();
    session.console.approve(&key, &question).unwrap();
    session.act(&action, Some(question.id)).unwrap().running().finish();
    assert_eq!(session.console.approve(&key, &question).unwrap_err().code, ErrorCode::ApprovalUsed);
    assert_eq!(session.act(&action, Some(question.id)).unwrap_err().code, ErrorCode::ApprovalUsed);
    assert_eq!(world.records().work().len(), 1);
    world.verify_audit();
}

/// Row P2: no is no, and cannot be turned into a yes afterwards.
#[test]
fn a_no_stays_a_no() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    let key = world.person.key();
    session.console.answer(&key, &Answer { granted: false, ..yes(&question) }).unwrap();
    assert_eq!(session.console.approve(&key, &question).unwrap_err().code, ErrorCode::ApprovalUnknown);
    assert_eq!(session.act(&action, Some(question.id)).unwrap_err().code, ErrorCode::ApprovalUnknown);
    nothing_ran(&world);
    world.verify_audit();
}

const SHORT: &str = r#"
version = 1
[[rule]]
name  = "sessions"
allow = ["open"]
role  = "approver"
[[rule]]
name  = "the log"
allow = ["log"]
role  = "approver"
[[rule]]
name = "asked for a second"
ask  = ["exec"]
role = "agent"
wait = 1
"#;

/// Row P2: a question that nobody answered in time cannot be answered any more.
#[test]
fn a_late_answer_is_none() {
    let world = World::builder().policy(SHORT).build();
    let mut session = Session::open(&world.person);
    let (action, question) = ask(&mut session);
    assert!(question.until <= now() + 1);
    until("the question's time is over", || (now() > question.until).then_some(()));
    let refusal = session.console.approve(&world.person.key(), &question).unwrap_err();
    assert!(matches!(refusal.code, ErrorCode::ApprovalExpired | ErrorCode::ApprovalUnknown), "{refusal}");
    let lapsed = session.agent.event(|event| matches!(event, Event::Decided { .. }));
    assert_eq!(lapsed, Event::Decided { id: question.id, granted: false });
    assert_eq!(session.act(&action, Some(question.id)).unwrap_err().code, ErrorCode::ApprovalUnknown);
    until("the record of it", || {
        world.records().of("answered").iter().any(|r| r["answer"] == "expired").then_some(())
    });
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P2: a yes that is not used within its minute is worth nothing.
#[test]
#[ignore = "waits a whole minute for a yes to run out"]
fn a_yes_runs_out() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, id) = granted(&mut session, &world);
    let end = now() + 60;
    let wait = || (now() > end).then_some(());
    // Twice as long as a condition may take elsewhere.
    until("half of the time", || (now() + 30 > end).then_some(()));
    until("the yes's time", wait);
    let refusal = session.act(&action, Some(id)).unwrap_err();
    assert!(matches!(refusal.code, ErrorCode::ApprovalExpired | ErrorCode::ApprovalUnknown), "{refusal}");
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P2: with another policy, granted approvals die and open questions are asked again.
#[test]
fn a_new_policy_ends_questions_and_approvals() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (action, id) = granted(&mut session, &world);
    let other = session.opened.exec(&["touch", "/tmp/open"]);
    let open = session.act(&other, None).unwrap().pending();
    world.write_policy(
        "99-more.toml",
        "version = 1\n[[rule]]\nname = \"never\"\ndeny = [\"exec\"]\nargv = [[\"shutdown\"]]\n",
    );
    let refusal = session.act(&action, Some(id)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::PolicyChanged);
    let revision = world.status().revision;
    assert_eq!(refusal.detail, revision.to_string());
    let renamed = Action { revision, ..action };
    assert_eq!(session.act(&renamed, Some(id)).unwrap_err().code, ErrorCode::ApprovalUnknown);
    assert_eq!(
        session.console.approve(&world.person.key(), &open).unwrap_err().code,
        ErrorCode::ApprovalUnknown
    );
    nothing_ran(&world);
    // Asked again under the new policy it is a question of its own.
    let again = session.act(&renamed, None).unwrap().pending();
    assert_ne!(again.id, id);
    session.console.approve(&world.person.key(), &again).unwrap();
    let (_, _, exit) = session.act(&renamed, Some(again.id)).unwrap().running().finish();
    assert_eq!(exit, Exit::Status(0));
    world.verify_audit();
}

/// Row P2: a restart forgets every yes, and the agent's key with it.
#[test]
fn a_restart_ends_approvals() {
    let mut world = World::new();
    let mut session = Session::open(&world.person);
    let (action, id) = granted(&mut session, &world);
    world.restart();
    let mut raw: Raw = world.raw();
    let refusal = raw.act(&session.key, &action, Some(id), None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownKey);
    let mut again = Session::open(&world.person);
    assert_eq!(again.opened.revision, action.revision);
    let refusal = again.act(&again.opened.exec(ASKED), Some(id)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalUnknown);
    nothing_ran(&world);
    world.verify_audit();
}

/// Row P2, the last step: the relay compares the order with the digest that was granted.
#[test]
fn what_is_ordered_is_what_was_granted_or_does_not_run() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let granted = session.opened.exec(&["echo", "granted"]);
    let (other, _) = session.opened.exec(&["echo", "swapped"]).seal().unwrap();
    let (out, _, exit) = session.act(&granted, None).unwrap().running().finish_with(&other);
    assert_eq!((out.as_slice(), exit), (&b""[..], Exit::Mismatch));
    let (out, _, exit) = session.act(&granted, None).unwrap().running().finish();
    assert_eq!((out.as_slice(), exit), (&b"granted\n"[..], Exit::Status(0)));
    let outcomes = until("both outcomes", || {
        let outcomes: Vec<_> = world.records().of("outcome").iter().map(|r| r["outcome"].clone()).collect();
        (outcomes.len() == 2).then_some(outcomes)
    });
    assert_eq!(outcomes, ["not what was granted", "exited"]);
    world.verify_audit();
}

/// Row P2: fixed input is what its digest says, or the work does not start.
#[test]
fn swapped_input_does_not_run() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (good, sealed) = input(b"good");
    let (evil, _) = input(b"evil");
    let mut action = session.opened.exec(&["cat"]);
    let Effect::Exec { stdin, .. } = &mut action.effect else { unreachable!() };
    *stdin = Stdin::Sealed(sealed);
    let run = |session: &mut Session, file| {
        let acted: Acted = session.agent.act(&session.key, &action, None, Some(file)).unwrap();
        acted.running().finish()
    };
    let (out, _, exit) = run(&mut session, &evil);
    assert_eq!((out.as_slice(), exit), (&b""[..], Exit::Mismatch));
    let (out, _, exit) = run(&mut session, &good);
    assert_eq!((out.as_slice(), exit), (&b"good"[..], Exit::Status(0)));
    let long = input(b"longer than that").0;
    let refusal = session.agent.act(&session.key, &action, None, Some(&long)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InputUnsealed);
    let refusal = session.agent.act(&session.key, &action, None, None).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InputMissing);
    world.verify_audit();
}
