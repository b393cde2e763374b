//! Row S5: what a session wrote is shown, carried over as it was shown, and taken back; and leads nowhere else.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::{Effect, ErrorCode, SessionId, Tier};
use closedpaw_tests::raw::Session;
use closedpaw_tests::rounds;
use closedpaw_tests::staged::{an_apply, diff, good, merged, says_yes_or_runs, script, staged, tree, world};
use closedpaw_tests::terminal::Terminal;
use closedpaw_tests::world::{Person, Ran, until, word};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// The whole way: kept when the session ends, shown, carried over, taken back, carried over again, thrown away.
#[test]
fn what_was_written_is_kept_shown_carried_over_and_taken_back() {
    let world = world();
    let person = &world.person;
    person.write("kept", b"one\ntwo\nthree\n");
    person.write("removed", b"gone soon\n");
    let before = tree(&person.workspace);
    let shown = says_yes_or_runs(
        person,
        "printf 'one\\n2\\nthree\\n' > kept; rm removed; mkdir -p deep/er; echo x > deep/er/file; \
         ln -s deep/er/file link; printf 'echo hi\\n' > tool; chmod 750 tool",
    );
    let line = "staged: 7 changes · closedpawctl diff · apply · discard";
    assert!(shown.err.contains(line), "{}", shown.err);
    assert_eq!(tree(&person.workspace), before);
    assert_eq!(good(person.ctl(&["--json", "status"])).json()["staged"], 1);

    let text = good(person.ctl(&["diff"])).out;
    for line in [
        "  -two\n  +2\n",
        "- removed",
        "  -gone soon\n",
        "+ deep/er/file",
        "  +x\n",
        "+ tool  (executable",
        "+ link  (a link)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour but at a terminal: {text}");
    let ran = good(person.ctl(&["apply", "--yes"]));
    assert!(ran.out.contains("applied 7"), "{ran}");
    let after = tree(&person.workspace);
    assert_eq!(after[Path::new("kept")].1, b"one\n2\nthree\n");
    assert_eq!(after[Path::new("tool")], (0o100_750, b"echo hi\n".to_vec()));
    assert_eq!(after[Path::new("link")].1, b"deep/er/file");
    assert!(!after.contains_key(Path::new("removed")));
    for path in ["kept", "tool", "deep", "deep/er/file", "link"] {
        let stat = fs::symlink_metadata(person.workspace.join(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (person.uid, person.gid), "{path}");
    }
    assert!(diff(person).is_empty(), "nothing is left to apply");

    good(person.ctl(&["undo"]));
    assert_eq!(tree(&person.workspace), before);
    assert_eq!(diff(person).len(), 7);
    good(person.ctl(&["apply", "--yes", "deep/er/file"]));
    assert_eq!(tree(&person.workspace).len(), before.len() + 3, "the file, and the two folders it is in");
    good(person.ctl(&["discard"]));
    assert_eq!(person.ctl(&["diff"]).code, Some(66));
    assert_eq!(good(person.ctl(&["--json", "staged"])).json(), json!([]));

    let records = world.records();
    let applies: Vec<_> =
        records.of("intent").into_iter().filter(|r| word(r, "action").as_deref() == Some("apply")).collect();
    let outcome = |intent: &Value| {
        let seq = &intent["seq"];
        records.of("outcome").into_iter().find(|record| record["intent"] == *seq).unwrap().clone()
    };
    assert_eq!(applies.len(), 2);
    assert_eq!(applies[0]["verdict"], json!("ask"), "a person's statement is that person's yes");
    assert_eq!(outcome(applies[0])["outcome"], json!("applied 7"));
    assert_eq!(outcome(applies[1])["outcome"], json!("applied 3"));
    let fates: Vec<_> = records.of("staged").iter().map(|record| record["fate"].clone()).collect();
    assert_eq!(fates, [json!("kept"), json!("discarded")]);
    world.verify_audit();
}

/// Row S5: links, hard links, set bits, what is hidden: named, and nothing outside changes.
#[test]
fn nothing_leads_out_of_the_workspace() {
    let world = world();
    let person = &world.person;
    let outside = person.home.join("outside");
    fs::write(&outside, "as it was").unwrap();
    chown(&outside, Some(person.uid), Some(person.gid)).unwrap();
    person.own_folder(&person.workspace.join("real"), 0o755);
    let home = tree(&person.home);
    script(
        person,
        &format!(
            "ln -s {} absolute; ln -s ../closedpaw-test-home/outside up; mkdir d; ln -s .. d/here; ln -s here/../../x d/chained; \
             echo x > one; ln one two; echo x > bits; chmod 6755 bits; echo x > fine; ln -s fine good; \
             echo x > .hidden; rm -rf real; ln -s {} real; : > \"$(printf 'odd\\377')\"",
            outside.display(),
            person.home.display()
        ),
    );
    let shown = diff(person);
    let refused: Vec<_> =
        shown.iter().filter(|(_, c)| !c["refused"].is_null()).map(|(path, _)| path.as_str()).collect();
    assert_eq!(refused, ["absolute", "bits", "d/chained", "odd\u{fffd}", "one", "real", "two", "up"]);
    let ran = person.ctl(&["apply", "--yes"]);
    assert_eq!(ran.code, Some(75), "{ran}");
    for path in refused {
        assert!(ran.out.lines().any(|line| line.starts_with(&format!("! {path}: "))), "{path}: {ran}");
    }
    let now = tree(&person.workspace);
    let names: Vec<_> = now.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, [".hidden", "d", "d/here", "fine", "good", "real"]);
    assert!(fs::symlink_metadata(person.workspace.join("real")).unwrap().is_dir());
    assert_eq!(home[Path::new("outside")], tree(&person.home)[Path::new("outside")]);
    world.verify_audit();
}

/// Row S5: devices and FIFOs, which no workload can make in the layer; as if a broken sandbox had.
#[test]
fn a_device_is_named_and_never_applied() {
    let world = world();
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let merged = merged(&world, &session);
    // Not through the overlay: that acts with what the launcher may, and a launcher may make no device.
    let made = |folder: &Path, name: &str| {
        Command::new("mknod").arg(folder.join(name)).args(["c", "1", "3"]).status().unwrap().success()
    };
    assert!(!made(&merged, "refused") && made(&merged.with_file_name("layer").join("upper"), "null"));
    assert!(Command::new("mkfifo").arg(merged.join("fifo")).status().unwrap().success());
    let shown = diff(&world.person);
    for name in ["null", "fifo"] {
        assert!(shown[name]["refused"].as_str().unwrap().contains("device"), "{shown:?}");
    }
    let ran = world.ctl(&["apply", "--yes"]);
    assert!(ran.code == Some(75) && ran.out.contains("! null: ") && ran.out.contains("! fifo: "), "{ran}");
    assert_eq!(fs::read_dir(&world.person.workspace).unwrap().count(), 0);
    world.verify_audit();
}

/// Row S5: what others run without being told to is called out in words.
#[test]
fn hooks_and_what_is_like_them_are_called_out() {
    let world = world();
    script(
        &world.person,
        "mkdir -p .git/hooks .vscode .github/workflows; for f in .git/hooks/pre-commit .git/config .envrc \
         .vscode/tasks.json Makefile .bashrc package.json build.rs .github/workflows/ci.yml .npmrc; do echo x > $f; done; \
         chmod +x .git/hooks/pre-commit; echo x > notes",
    );
    let shown = diff(&world.person);
    for (path, change) in &shown {
        let notes = change["notes"].as_array().unwrap();
        let plain = path == "notes"
            || change["after"]["kind"] == "folder"
                && !path.contains(".git/")
                && path != ".git"
                && path != ".vscode";
        assert!(plain || !notes.is_empty(), "{path}: {notes:?}");
        assert!(path != "notes" || notes.is_empty());
    }
    let text = good(world.ctl(&["diff", "--stat"])).out;
    assert!(text.contains("+ .git/hooks/pre-commit  (git runs it: a hook; executable"), "{text}");
    assert!(text.contains("+ .envrc  (direnv runs it"), "{text}");
    world.verify_audit();
}

/// Row P4: nothing in a name or a line acts on the terminal.
#[test]
fn what_is_shown_is_escaped() {
    let world = world();
    script(
        &world.person,
        "printf 'a\\033]52;c;AAAA\\007b\\n .bashrc  (harmless)\\n' > \"$(printf 'n\\033[2Jame')\"",
    );
    // No line of a file looks like one of the list.
    let text = good(world.ctl(&["diff"])).out;
    assert_eq!(text.lines().filter(|line| !line.starts_with("  ")).count(), 2, "{text}");
    assert!(text.contains("\n  + .bashrc  (harmless)\n"), "{text}");
    for words in [&["diff"][..], &["--json", "diff"], &["diff", "--stat"]] {
        let ran = good(world.ctl(words));
        assert!(ran.out.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{ran}");
        assert!(ran.out.contains("n") && ran.out.contains("[2Jame"), "{ran}");
    }
    let mut command = world.person.ctl_command(&["diff"]);
    command.env("TERM", "xterm");
    let shown = Terminal::start(command, false).finish();
    assert!(!shown.seen.contains('\u{7}') && !shown.seen.contains("\u{1b}]"), "{}", shown.seen);
    world.verify_audit();
}

/// Row S5: many files. They are shown, and carried over.
#[test]
fn a_hundred_thousand_files_are_carried_over() {
    let world = world();
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let (merged, person) = (merged(&world, &session), &world.person);
    let count = 100_000;
    for folder in 0..100 {
        let folder = merged.join(format!("folder-{folder:02}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..count / 100 {
            fs::write(folder.join(format!("{file:03}")), [b'x']).unwrap();
        }
    }
    let owner = format!("{}:{}", person.uid, person.gid);
    assert!(Command::new("chown").args(["-R", &owner]).arg(&merged).status().unwrap().success());
    let state = staged(&mut world.raw(), &person.key()).remove(0);
    drop(session);
    until("the session has ended", || (world.status().sessions == 0).then_some(()));
    assert_eq!(staged(&mut world.raw(), &person.key())[0].session, state.session);
    let ran = long(person, &["diff", "--stat"]);
    assert!(ran.out.contains("100100 changes"), "{}", ran.out.lines().last().unwrap());
    let ran = long(person, &["apply", "--yes"]);
    assert!(ran.out.contains("applied 100100"), "{}", ran.out.lines().last().unwrap());
    let now = tree(&person.workspace);
    assert_eq!(now.len(), 100_100);
    assert_eq!(now[Path::new("folder-99/999")], (0o100_644, b"x".to_vec()));
    world.verify_audit();
}

/// A client for which a hundred thousand files are a lot of work.
fn long(person: &Person, words: &[&str]) -> Ran {
    let output = person.ctl_command(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    good(Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
}

/// Killed at any moment, an apply leaves each file old or new; then undo takes it back, or another apply finishes it.
#[test]
fn an_apply_that_is_killed_leaves_every_file_old_or_new() {
    let world = world();
    let person = &world.person;
    for number in 0..80 {
        person.write(&format!("{number:02}"), b"old");
    }
    script(person, "for f in ??; do printf 'new content' > $f; done; rm 7?; mkdir folder; cp 0? folder");
    let old = tree(&person.workspace);
    good(person.ctl(&["diff", "--stat"]));
    for round in 0..rounds() * 2 {
        let mut client = person.ctl_command(&["apply", "--yes"]);
        let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A moment that is another one every time: when so many files are new.
        let wanted = (round * 7) % 80;
        let is_new = |name: &usize| {
            fs::read(person.workspace.join(format!("{name:02}"))).is_ok_and(|c| c == b"new content")
        };
        until("so many files are new, or all", || {
            let done = client.try_wait().unwrap().is_some();
            (done || (0..70).filter(is_new).count() >= wanted.min(69)).then_some(())
        });
        drop(client.kill());
        client.wait().unwrap();
        for (path, (_, content)) in tree(&person.workspace) {
            let name = path.to_str().unwrap();
            let whole = content == b"old" || content == b"new content" || name == "folder";
            assert!(whole || name.contains(".closedpaw-"), "{name}: {content:?}");
        }
        if round % 2 == 0 {
            let ran = person.ctl(&["undo"]);
            assert!(matches!(ran.code, Some(0 | 66)), "{ran}");
            assert_eq!(tree(&person.workspace), old, "round {round}: {ran}");
        } else {
            good(person.ctl(&["apply", "--yes"]));
            let now = tree(&person.workspace);
            assert_eq!(now.len(), 70 + 11, "round {round}");
            assert!(
                now.iter().all(|(path, (_, c))| c == b"new content" || path == Path::new("folder")),
                "round {round}"
            );
            // An apply that was cut off and the one that finished it are two.
            while good_or_nothing(person.ctl(&["undo"])) {}
            assert_eq!(tree(&person.workspace), old, "round {round}");
        }
    }
    world.verify_audit();
}

/// Whether there was something to undo.
fn good_or_nothing(ran: Ran) -> bool {
    assert!(matches!(ran.code, Some(0 | 66)), "{ran}");
    ran.code == Some(0)
}

/// Rows P2, P3, S5: what was shown is what is carried over; whatever is another one by then stays, on both sides, by name.
#[test]
fn what_is_swapped_after_it_was_shown_is_refused_by_name() {
    let world = world();
    let person = &world.person;
    person.write("theirs", b"old\n");
    person.write("same", b"old\n");
    assert_eq!(person.ctl(&["apply", "--yes"]).code, Some(66), "nothing is staged");
    let mut session = Session::open(person);
    let write = |session: &mut Session, text: &str| {
        session.approved(person, &["sh", "-c", text]).finish();
    };
    write(&mut session, "echo new > ours; echo new > theirs; echo new > same");
    assert_eq!(person.ctl(&["apply", "--yes"]).code, Some(66), "nothing was shown");
    good(person.ctl(&["diff"]));
    // More was done in the session: nothing of it is carried over.
    write(&mut session, "echo evil > ours");
    let ran = person.ctl(&["apply", "--yes"]);
    assert!(ran.code == Some(75) && ran.err.contains("staged-changed"), "{ran}");
    good(person.ctl(&["diff"]));
    // Without a piece of work of the daemon's, as what runs on in the sandbox could.
    fs::write(merged(&world, &session).join("ours"), "evil again\n").unwrap();
    person.write("theirs", b"edited by hand\n");
    let ran = person.ctl(&["apply", "--yes"]);
    assert_eq!(ran.code, Some(75), "{ran}");
    assert!(
        ran.out.contains("! ours: ") && ran.out.contains("! theirs: ") && ran.out.contains("applied 1"),
        "{ran}"
    );
    assert!(!person.workspace.join("ours").exists());
    assert_eq!(fs::read(person.workspace.join("theirs")).unwrap(), b"edited by hand\n");
    assert_eq!(fs::read(person.workspace.join("same")).unwrap(), b"new\n");
    // The folder itself is another one.
    good(person.ctl(&["diff"]));
    let away = person.workspace.with_extension("away");
    fs::rename(&person.workspace, &away).unwrap();
    person.own_folder(&person.workspace, 0o755);
    let ran = person.ctl(&["apply", "--yes"]);
    assert!(ran.err.contains("staged-changed"), "{ran}");
    assert_eq!(fs::read_dir(&person.workspace).unwrap().count(), 0);
    // Taken back is what was carried over, and nothing that was edited since.
    fs::remove_dir(&person.workspace).unwrap();
    fs::rename(&away, &person.workspace).unwrap();
    person.write("same", b"edited since\n");
    let ran = person.ctl(&["undo"]);
    assert!(ran.code == Some(75) && ran.out.contains("! same: "), "{ran}");
    assert_eq!(fs::read(person.workspace.join("same")).unwrap(), b"edited since\n");
    world.verify_audit();
}

/// A question before anything changes; without a person at a terminal there is no yes.
#[test]
fn it_is_asked_before_anything_changes() {
    let world = world();
    let person = &world.person;
    script(person, "echo x > made");
    good(person.ctl(&["diff"]));
    let ran = person.ctl(&["apply"]);
    assert!(ran.code == Some(77) && ran.err.contains("not-confirmed"), "{ran}");
    for (key, applied) in [("n\n", false), ("\n", false), ("y\n", true)] {
        let mut terminal = Terminal::start(person.ctl_command(&["apply"]), true);
        terminal.expect("[y] yes   [n] no: ");
        terminal.write(key);
        let shown = terminal.finish();
        assert_eq!(shown.status.code(), Some(if applied { 0 } else { 77 }), "{}", shown.seen);
        assert_eq!(person.workspace.join("made").exists(), applied, "{key:?}");
    }
    world.verify_audit();
}

/// What no rule allows is not carried over; and the log has the intent before anything changes.
#[test]
fn policy_decides_what_is_carried_over() {
    let world = world();
    let person = &world.person;
    script(person, "mkdir -p .git/hooks; echo x > .git/hooks/post-commit; echo x > notes");
    let rule = "version = 1\n[[rule]]\nname = \"never hooks\"\ndeny = [\"apply\"]\npath = \".git/**\"\nwhy = \"hooks run\"\n";
    world.write_policy("60-hooks.toml", rule);
    good(person.ctl(&["diff"]));
    let ran = person.ctl(&["apply", "--yes"]);
    assert!(ran.code == Some(77) && ran.err.contains("never hooks"), "{ran}");
    assert_eq!(fs::read_dir(&person.workspace).unwrap().count(), 0);
    good(person.ctl(&["apply", "--yes", "notes"]));
    assert_eq!(tree(&person.workspace).len(), 1);
    let intents = world.records();
    let intents = intents.of("intent");
    let last = intents.last().unwrap();
    assert_eq!(
        (word(last, "action").as_deref(), word(last, "paths").as_deref()),
        (Some("apply"), Some("notes"))
    );
    world.verify_audit();
}

/// A grant is for what there is, under the policy there is, and its outcome is told once, by whoever has it.
#[test]
fn a_grant_is_for_what_there_is_and_its_outcome_is_told_once() {
    let world = world();
    script(&world.person, "echo x > made");
    let (mut raw, key) = (world.raw(), world.person.key());
    let state = staged(&mut raw, &key).remove(0);
    let action = an_apply(&world, &state);
    let mut others = vec![action.clone(); 5];
    others[0].session = SessionId([9; 16]);
    others[1].revision.0[0] ^= 1;
    others[2].isolation = Tier::Process;
    let Effect::Apply { diff, paths, .. } = action.effect.clone() else { unreachable!() };
    others[3].effect = Effect::Apply { generation: 99, diff, paths };
    others[4].profile.push('x');
    let wanted = [
        ErrorCode::UnknownSession,
        ErrorCode::PolicyChanged,
        ErrorCode::TierMissing,
        ErrorCode::StagedChanged,
        ErrorCode::TierMissing,
    ];
    for (other, code) in others.into_iter().zip(wanted) {
        let refusal = raw.request(&key, &Request::Apply { action: other }, &[]).unwrap_err();
        assert_eq!(refusal.code, code);
    }
    let reply = raw.request(&key, &Request::Apply { action: action.clone() }, &[]).unwrap();
    let Reply::Applying { intent, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(world.records().of("intent").last().unwrap()["seq"], json!(intent), "it is on disk by then");
    let said = Request::Applied { intent, applied: 1, refused: 0 };
    let refusal = world.raw().request(&key, &said, &[]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ApprovalUnknown, "on another connection");
    assert_eq!(raw.request(&key, &said, &[]), Ok(Reply::Done));
    assert_eq!(raw.request(&key, &said, &[]).unwrap_err().code, ErrorCode::ApprovalUnknown);
    // Whoever goes without a word has said nothing, and that is what the log has.
    assert!(raw.request(&key, &Request::Apply { action }, &[]).is_ok());
    drop(raw);
    until("the outcome is written", || {
        world.records().of("outcome").last().filter(|record| record["outcome"] == "not reported").map(|_| ())
    });
    world.verify_audit();
}

/// What the person did in the folder meanwhile is not taken for the session's.
#[test]
fn what_was_edited_outside_is_not_the_sessions() {
    let world = world();
    let person = &world.person;
    person.write("edited", b"old\n");
    person.write("saved", b"old\n");
    let mut session = Session::open(person);
    session.approved(person, &["sh", "-c", "cat * > /dev/null; ls -la > /dev/null; echo x > made"]).finish();
    person.write("edited", b"in place\n");
    person.write("draft", b"as editors save\n");
    fs::rename(person.workspace.join("draft"), person.workspace.join("saved")).unwrap();
    person.write("fresh", b"new\n");
    drop(session);
    until("the session has ended", || (world.status().sessions == 0).then_some(()));
    let before = tree(&person.workspace);
    let shown = diff(person);
    let applicable: Vec<_> =
        shown.iter().filter(|(_, c)| c["refused"].is_null()).map(|(path, _)| path.as_str()).collect();
    assert_eq!(applicable, ["made"], "{shown:?}");
    drop(person.ctl(&["apply", "--yes"]));
    let mut wanted = before;
    wanted.insert("made".into(), (0o100_644, b"x\n".to_vec()));
    assert_eq!(tree(&person.workspace), wanted);
    world.verify_audit();
}

/// The bits that a folder gets are those that were shown, and no others.
#[test]
fn bits_are_those_that_were_shown() {
    let world = world();
    script(&world.person, "umask 0; mkdir -m 1777 open; echo x > open/file; chmod 666 open/file");
    good(world.ctl(&["diff"]));
    good(world.ctl(&["apply", "--yes"]));
    let mode =
        |path: &str| fs::metadata(world.person.workspace.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("open"), mode("open/file")), (0o777, 0o666));
    world.verify_audit();
}

/// What is in a folder that was closed is not taken for gone, nor is what the session made in one.
#[test]
fn a_folder_that_cannot_be_looked_into_is_named() {
    let world = world();
    let person = &world.person;
    person.own_folder(&person.workspace.join("closed"), 0o755);
    person.write("closed/inside", b"x");
    let before = tree(&person.workspace);
    script(person, "chmod 0 closed; mkdir own; echo x > own/file; chmod 0 own; echo x > made");
    let shown = diff(person);
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["closed", "made", "own"]);
    for path in ["closed", "own"] {
        assert!(shown[path]["refused"].as_str().unwrap().contains("cannot be read"), "{shown:?}");
    }
    assert_eq!(person.ctl(&["apply", "--yes"]).code, Some(75));
    let mut wanted = before;
    wanted.insert("made".into(), (0o100_644, b"x\n".to_vec()));
    assert_eq!(tree(&person.workspace), wanted);
    world.verify_audit();
}
