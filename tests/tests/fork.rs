//! A session that begins with the staged work of another one: with all of it, its label too, or nothing runs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request, StagedState};
use closedpaw_protocol::{Label, SessionId, Source, SourceKind, Tier};
use closedpaw_tests::raw::Session;
use closedpaw_tests::rounds;
use closedpaw_tests::staged::{diff_of, good, merged, said_yes, script, staged, tree, world};
use closedpaw_tests::tiers;
use closedpaw_tests::world::{Person, Ran, World, until};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What is staged by now and was not before.
fn new_since(world: &World, before: &[StagedState]) -> StagedState {
    let all = staged(&mut world.raw(), &world.person.key());
    let mut new = all.into_iter().filter(|state| before.iter().all(|old| old.session != state.session));
    let only = new.next().expect("something new is staged");
    assert_eq!(new.next(), None);
    only
}

/// What a script in a session of its own leaves staged.
fn staged_by(world: &World, text: &str) -> StagedState {
    let before = staged(&mut world.raw(), &world.person.key());
    script(&world.person, text);
    new_since(world, &before)
}

fn fork_words<'a>(from: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--from", from, "--"], command].concat()
}

/// What is staged of a session that begins with another's work and runs a script that is asked about.
#[track_caller]
fn forked(world: &World, from: SessionId, text: &str) -> (StagedState, Ran) {
    let before = staged(&mut world.raw(), &world.person.key());
    let ran = good(said_yes(&world.person, &fork_words(&from.to_string(), &["sh", "-c", text])));
    (new_since(world, &before), ran)
}

/// The same with a command that needs no yes.
#[track_caller]
fn forked_unasked(world: &World, from: SessionId, tier: Tier) -> StagedState {
    let before = staged(&mut world.raw(), &world.person.key());
    let from = from.to_string();
    let words = ["run", "--isolation", tier.name(), "--from", &from, "--", "true"];
    good(world.ctl(&words));
    new_since(world, &before)
}

fn is_file(person: &Person, name: &str, content: &[u8]) -> bool {
    fs::read(person.workspace.join(name)).is_ok_and(|now| now == content)
}

/// Two ways tried from one session: each goes on by itself, is looked at, carried over and thrown away by itself.
#[test]
fn two_ways_are_tried_from_one_session() {
    let world = world();
    let person = &world.person;
    person.write("kept", b"old\n");
    person.write("removed", b"old\n");
    let before = tree(&person.workspace);
    let source = staged_by(&world, "echo first > kept; rm removed; mkdir -p deep/er; echo x > deep/er/file");
    let shown = diff_of(person, &source.session.to_string());
    // By the beginning of its name.
    let name = source.session.to_string();
    let ran = good(said_yes(person, &fork_words(&name[..8], &["sh", "-c", "cat kept deep/er/file; ls"])));
    assert_eq!(ran.out, "first\nx\ndeep\nkept\n", "{ran}");
    assert!(ran.err.contains(&format!("begins with 5 changes of {}", &name[..8])), "{ran}");
    let (one, _) = forked(&world, source.session, "echo one >> kept; rm -r deep; echo 1 > way");
    let (two, ran) = forked(&world, source.session, "cat kept; echo two >> kept; echo 2 > removed");
    assert!(ran.out == "first\n" && ran.err.contains("staged: 5 changes"), "{ran}");
    // What the one wrote the other never saw.
    let text = |session: SessionId, path: &str| {
        diff_of(person, &session.to_string())
            .get(path)
            .map(|change| change["diff"].as_str().unwrap().to_owned())
    };
    let kept = |added: &str| Some(format!("-old\n{added}"));
    let of_kept = |session| text(session, "kept").map(|text| text.split_once('\n').unwrap().1.to_owned());
    assert_eq!(of_kept(one.session), kept("+first\n+one\n"));
    assert_eq!(of_kept(two.session), kept("+first\n+two\n"));
    assert_eq!((text(one.session, "way").is_some(), text(two.session, "way")), (true, None));
    assert_eq!((text(one.session, "deep"), text(two.session, "deep").is_some()), (None, true));
    assert_eq!(diff_of(person, &source.session.to_string()), shown);
    assert_eq!(tree(&person.workspace), before);
    // Each is its own to carry over, to take back, to throw away.
    let of = |session: SessionId| session.to_string();
    good(world.ctl(&["discard", "--session", &of(source.session)]));
    good(world.ctl(&["apply", "--yes", "--session", &of(two.session)]));
    assert!(is_file(person, "kept", b"first\ntwo\n") && is_file(person, "removed", b"2\n"));
    good(world.ctl(&["undo"]));
    assert_eq!(tree(&person.workspace), before);
    good(world.ctl(&["discard", "--session", &of(two.session)]));
    good(world.ctl(&["apply", "--yes", "--session", &of(one.session)]));
    assert!(is_file(person, "kept", b"first\none\n") && is_file(person, "way", b"1\n"));
    assert!(!person.workspace.join("removed").exists() && !person.workspace.join("deep").exists());
    world.verify_audit();
}

/// In every tier: what `diff` shows of the one it shows of the other, word for word; of the other's other, too.
#[test]
fn the_same_is_shown_of_both() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let person = &world.person;
        for name in ["changed", "bits", "to-folder", "same"] {
            person.write(name, b"old\n");
        }
        for folder in ["to-file", "real", "goes", "mode"] {
            person.own_folder(&person.workspace.join(folder), 0o755);
            person.write(&format!("{folder}/inside"), b"old\n");
        }
        let mut session = tiers::open(&world, tier);
        let script = "echo new > changed; chmod 755 bits; rm to-folder; mkdir -p to-folder/deep; echo x > to-folder/deep/er; \
            rm -r to-file; echo file > to-file; rm -r goes; rm -r real; ln -s /etc real; chmod 700 mode; \
            ln -s /etc/passwd absolute; ln -s ../../x up; ln -s changed fine; mkdir -m 1777 open; echo x > open/.hidden; \
            echo x > one; ln one open/two; ln same third; echo x > secret; chmod 6755 secret; umask 0; echo x > wide; \
            mkdir -p .git/hooks; echo x > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit; echo x > .envrc; \
            printf 'a\\000b' > binary; : > empty; : > \"$(printf 'n\\033[2Jame')\"";
        let (_, err, exit) = session.approved(person, &["sh", "-c", script]).finish();
        assert_eq!(exit.shell_status(), 0, "{}", String::from_utf8_lossy(&err));
        let source = session.opened.session;
        let before = tree(&person.workspace);
        // As long as it is open, and when it has ended.
        let shown = diff_of(person, &source.to_string());
        let open = forked_unasked(&world, source, tier);
        drop(session);
        until("it has ended", || (world.status().sessions == 0).then_some(()));
        let ended = forked_unasked(&world, source, tier);
        let again = forked_unasked(&world, ended.session, tier);
        let refused = shown.values().filter(|change| !change["refused"].is_null()).count();
        assert!(shown.len() > 25 && refused >= 6, "{tier:?}: {shown:?}");
        for state in [&open, &ended, &again] {
            assert_eq!(diff_of(person, &state.session.to_string()), shown, "{tier:?}");
            assert_eq!((state.isolation, state.ended.is_some()), (tier, true));
        }
        assert_eq!(tree(&person.workspace), before);
        assert_eq!(diff_of(person, &source.to_string()), shown, "{tier:?}");
        world.verify_audit();
    }
}

/// Row S7: what the one has read the other has read, whatever its person vouches for.
#[test]
fn the_label_goes_along() {
    let world = world();
    let person = &world.person;
    let web = Source { kind: SourceKind::Web, name: "example.org".to_owned() };
    let mail = Source { kind: SourceKind::Mail, name: "inbox".to_owned() };
    let mut session = Session::open_with(person, |opening| {
        opening.label = Label::new([web.clone()], [mail.clone()]);
    });
    session.approved(person, &["sh", "-c", "echo x > made"]).finish();
    let source = session.opened.session;
    let state = |id: SessionId| {
        let all = staged(&mut world.raw(), &person.key());
        all.into_iter().find(|state| state.session == id).unwrap()
    };
    let label = state(source).label;
    let from = source.to_string();
    // Where it is a session of the folder alone, it is not asked; what has read the web is asked.
    good(world.ctl(&["run", "--trust", "--", "true"]));
    let before = staged(&mut world.raw(), &person.key());
    let words = ["run", "--trust", "--from", &from, "--", "cat", "made"];
    let ran = good(said_yes(person, &words));
    assert!(ran.out == "x\n" && ran.err.contains("example.org"), "{ran}");
    let fork = new_since(&world, &before);
    assert_eq!(fork.label, label);
    assert!(
        label.untrusted().contains(&web) && label.private().contains(&mail) && label.untrusted().len() == 2
    );
    // So has the fork's own fork.
    let (second, _) = forked(&world, fork.session, "echo y > made");
    assert_eq!(second.label, label);
    let records = world.records();
    let opened = records.of("opened");
    assert!(opened.last().unwrap()["label"].as_str().unwrap().contains("example.org"), "the log has it");
    world.verify_audit();
}

/// What is missing, somebody else's, thrown away or ambiguous is no session to begin with: as `diff` says it.
#[test]
fn there_is_no_fork_of_what_is_not_ones_own() {
    let world = world();
    let source = staged_by(&world, "echo x > made");
    let name = source.session.to_string();
    let refused = |person: &Person, name: &str| {
        let asked = person.ctl(&["diff", "--session", name]);
        let ran = person.ctl(&fork_words(name, &["true"]));
        assert_eq!((ran.code, asked.code), (Some(77), Some(77)), "{name}: {ran}");
        assert!(ran.err.contains("unknown-session") && ran.out.is_empty(), "{ran}");
    };
    refused(&world.other, &name);
    refused(&world.person, "00000000000000000000000000000000");
    refused(&world.person, &name[..3]);
    refused(&world.person, "");
    assert_eq!(diff_of(&world.person, &name).len(), 1);
    for with in [&["--workspace", "."][..], &["--no-workspace"]] {
        let ran = world.ctl(&[&["run", "--from", &name], with, &["--", "true"]].concat());
        assert_eq!(ran.code, Some(2), "{ran}");
    }
    good(world.ctl(&["discard", "--session", &name]));
    refused(&world.person, &name);
    assert_eq!((world.records().of("opened").len(), world.status().sessions), (1, 0));
    assert!(fs::read_dir(&world.person.workspace).unwrap().next().is_none());
    world.verify_audit();
}

/// Where part of the work cannot be carried over, that part is named, and nothing runs.
#[test]
fn half_of_the_work_is_no_fork() {
    let world = world();
    let person = &world.person;
    let mut session = Session::open(person);
    let odd = "echo x > fine; : > \"$(printf 'odd\\377')\"";
    session.approved(person, &["sh", "-c", odd]).finish();
    let source = session.opened.session.to_string();
    let refused = |path: &str| {
        let ran = world.ctl(&fork_words(&source, &["echo", "it ran"]));
        assert_eq!((ran.code, ran.out.as_str()), (Some(75), ""), "{ran}");
        assert!(ran.err.contains("not-forked: ") && ran.err.contains(path), "{ran}");
        assert!(ran.err.contains("next: closedpawctl diff --session"), "{ran}");
    };
    refused("odd\u{fffd}: its name is no text");
    session.approved(person, &["sh", "-c", "rm odd*; echo y > fine"]).finish();
    assert!(Command::new("mkfifo").arg(merged(&world, &session).join("fifo")).status().unwrap().success());
    let works = world.records().work().len();
    refused("fifo: the session made a device, a FIFO or a socket");
    session
        .approved(person, &["sh", "-c", "rm fifo; mkdir closed; echo x > closed/file; chmod 0 closed"])
        .finish();
    let works = works + 1;
    refused("closed: it cannot be read");
    until("none but the one is open", || (world.status().sessions == 1).then_some(()));
    assert_eq!(staged(&mut world.raw(), &person.key()).len(), 1);
    assert_eq!(world.records().work().len(), works);
    world.verify_audit();
}

/// A layer with room for less than the work: nothing runs either, and it is said that there was no room.
#[test]
fn without_room_for_the_work_there_is_no_fork() {
    let shipped = tiers::profile(Tier::Gvisor);
    let small = shipped.replace("\"default\"", "\"small\"").replace("layer   = \"2GiB\"", "layer = \"1MiB\"");
    assert!(small.contains("1MiB") && small.contains("small"));
    let profiles = format!("{shipped}\n{}", small.replace("version = 1", ""));
    let world = World::builder().profiles(&profiles).build();
    let source = staged_by(&world, "head -c 3000000 /dev/zero > large; echo x > zz").session.to_string();
    let ran = world.ctl(&["run", "--profile", "small", "--from", &source, "--", "echo", "it ran"]);
    assert!(ran.code == Some(75) && ran.out.is_empty() && ran.err.contains("large: No space left"), "{ran}");
    until("it is closed", || (world.status().sessions == 0).then_some(()));
    assert_eq!(staged(&mut world.raw(), &world.person.key()).len(), 1);
    world.verify_audit();
}

/// A session whose work takes a while to copy, and a client that has compared it and is not done: what happens then.
struct Slow {
    world: World,
    session: Session,
}

/// How many files come before the last one.
const MANY: usize = 20_000;

impl Slow {
    fn new() -> Self {
        let world = world();
        let mut session = Session::open(&world.person);
        session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
        let (merged, person) = (merged(&world, &session), &world.person);
        let folder = merged.join("folder");
        fs::create_dir(&folder).unwrap();
        for file in 0..MANY {
            fs::write(folder.join(format!("{file:05}")), [b'x']).unwrap();
        }
        fs::write(merged.join("zz"), b"last").unwrap();
        let owner = format!("{}:{}", person.uid, person.gid);
        assert!(Command::new("chown").args(["-R", &owner]).arg(&merged).status().unwrap().success());
        Self { world, session }
    }

    fn source(&self) -> String {
        self.session.opened.session.to_string()
    }

    /// Begins a fork, and stops it when it is about to copy or copies: when its session is open.
    fn begun(&self) -> Child {
        let source = self.source();
        let mut client = self.world.person.ctl_command(&fork_words(&source, &["echo", "it ran"]));
        let child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("its session is open", || (self.world.status().sessions == 2).then_some(()));
        signal(&child, "-STOP");
        child
    }

    fn ended(child: Child) -> (ExitStatus, String, String) {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Nothing ran, and nothing is left of it.
    fn nothing_is_left(&self, sessions: usize) {
        until("the fork has ended", || (self.world.status().sessions as usize == sessions).then_some(()));
        let (records, source) = (self.world.records(), json!(self.source()));
        assert!(records.work().iter().all(|record| record["session"] == source), "{}", records.tail(9));
        let all = staged(&mut self.world.raw(), &self.world.person.key());
        assert_eq!(
            all.iter().filter(|state| state.session != self.session.opened.session).count(),
            0,
            "{all:?}"
        );
    }
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// What is another one than it was when it was looked at stops the fork; so does more work in the session.
#[test]
fn what_changes_after_it_was_compared_stops_the_fork() {
    let mut slow = Slow::new();
    let zz = merged(&slow.world, &slow.session).join("zz");
    let child = slow.begun();
    fs::write(&zz, b"evil").unwrap();
    signal(&child, "-CONT");
    let (status, out, err) = Slow::ended(child);
    assert_eq!((status.code(), out.as_str()), (Some(75), ""), "{err}");
    assert!(err.contains("not-forked: zz: what was staged has changed"), "{err}");
    slow.nothing_is_left(1);
    // In the folder.
    let child = slow.begun();
    slow.world.person.write("zz", b"by hand");
    signal(&child, "-CONT");
    let (status, out, err) = Slow::ended(child);
    assert_eq!((status.code(), out.as_str()), (Some(75), ""), "{err}");
    assert!(err.contains("not-forked: zz: the folder has changed"), "{err}");
    assert!(is_file(&slow.world.person, "zz", b"by hand"));
    slow.nothing_is_left(1);
    // Work that leaves nothing behind may still have read something.
    let child = slow.begun();
    slow.session.act(&slow.session.opened.exec(&["true"]), None).unwrap().running().finish();
    signal(&child, "-CONT");
    let (status, out, err) = Slow::ended(child);
    assert_eq!((status.code(), out.as_str()), (Some(75), ""), "{err}");
    assert!(err.contains("staged-changed"), "{err}");
    slow.nothing_is_left(1);
    slow.world.verify_audit();
}

/// What was thrown away meanwhile nothing begins with.
#[test]
fn what_is_discarded_meanwhile_is_no_fork() {
    let slow = Slow::new();
    let (session, source) = (slow.session.opened.session, slow.source());
    let Slow { world, session: open } = slow;
    drop(open);
    until("it has ended", || (world.status().sessions == 0).then_some(()));
    let mut client = world.person.ctl_command(&fork_words(&source, &["echo", "it ran"]));
    let child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the fork is open", || (world.status().sessions == 1).then_some(()));
    signal(&child, "-STOP");
    let discard = Request::Discard { session };
    assert_eq!(world.raw().request(&world.person.key(), &discard, &[]), Ok(Reply::Done));
    signal(&child, "-CONT");
    let (status, out, err) = Slow::ended(child);
    assert_eq!((status.code(), out.as_str()), (Some(77), ""), "{err}");
    assert!(err.contains("unknown-session"), "{err}");
    until("the fork has ended", || (world.status().sessions == 0).then_some(()));
    assert_eq!(staged(&mut world.raw(), &world.person.key()), []);
    world.verify_audit();
}

/// Killed while it copies, a fork leaves nothing that runs, and the source as it was.
#[test]
fn a_fork_that_is_killed_leaves_nothing() {
    let slow = Slow::new();
    let layer = merged(&slow.world, &slow.session);
    let before = tree(&layer);
    for round in 0..rounds().div_ceil(3) {
        let mut child = slow.begun();
        let folders = slow.world.run().join("sandboxes");
        let sandboxes = || fs::read_dir(&folders).unwrap().flatten().count();
        assert_eq!(sandboxes(), 2, "round {round}");
        signal(&child, "-CONT");
        // A moment that is another one every time: when so many files are there.
        let own = Path::new("merged");
        let of_fork = fs::read_dir(&folders).unwrap().flatten().map(|folder| folder.file_name());
        let of_fork =
            of_fork.into_iter().find(|name| *name != *slow.session.opened.sandbox.to_string()).unwrap();
        let there = layer.parent().unwrap().with_file_name(of_fork).join(own).join("folder");
        let wanted = round * 500;
        until("so many are there, or it is over", || {
            let count = fs::read_dir(&there).map(|found| found.count()).unwrap_or_default();
            (count >= wanted || child.try_wait().unwrap().is_some()).then_some(())
        });
        drop(child.kill());
        assert_eq!(child.wait().unwrap().code(), None, "round {round}: it was done too early");
        slow.nothing_is_left(1);
        until("its sandbox is gone", || (sandboxes() == 1).then_some(()));
    }
    assert_eq!(tree(&layer), before);
    assert!(fs::read_dir(&slow.world.person.workspace).unwrap().next().is_none());
    // And then one that is not killed has everything.
    let source = slow.source();
    let ran = good(slow.world.ctl(&fork_words(&source, &["cat", "zz", "folder/19999"])));
    assert_eq!(ran.out, "lastx", "{ran}");
    slow.world.verify_audit();
}

/// A fork in which nothing was granted is not kept; one in which something was is, by what it has.
#[test]
fn a_fork_in_which_nothing_was_done_is_not_kept() {
    let world = world();
    let source = staged_by(&world, "echo x > made");
    let name = source.session.to_string();
    let rule =
        "version = 1\n[[rule]]\nname = \"not this\"\ndeny = [\"exec\"]\nargv = [[\"false\", \"**\"]]\n";
    world.write_policy("60-not-this.toml", rule);
    let ran = world.ctl(&fork_words(&name, &["false"]));
    assert!(ran.code == Some(77) && ran.err.contains("denied"), "{ran}");
    until("it has ended", || (world.status().sessions == 0).then_some(()));
    assert_eq!(staged(&mut world.raw(), &world.person.key()), std::slice::from_ref(&source));
    // Its own changes taken away again leave what it began with; and without that, nothing.
    let (same, _) = forked(&world, source.session, "echo y > other; rm other");
    assert_eq!(diff_of(&world.person, &same.session.to_string()), diff_of(&world.person, &name));
    let before = staged(&mut world.raw(), &world.person.key());
    good(said_yes(&world.person, &fork_words(&name, &["rm", "made"])));
    assert_eq!(staged(&mut world.raw(), &world.person.key()), before);
    world.verify_audit();
}

/// What the folder has that is newer than the work is called out in the fork as in the session itself.
#[test]
fn what_is_newer_than_the_work_is_called_out() {
    let world = world();
    let person = &world.person;
    person.write("edited", b"old\n");
    let source = staged_by(&world, "echo new > edited");
    person.write("edited", b"by hand\n");
    let shown = diff_of(person, &source.session.to_string());
    assert!(shown["edited"]["notes"].to_string().contains("newer than the session"), "{shown:?}");
    let fork = forked_unasked(&world, source.session, Tier::Gvisor);
    assert_eq!(diff_of(person, &fork.session.to_string()), shown);
    world.verify_audit();
}

/// Where each command has a sandbox of its own, each begins with the work, too.
#[test]
fn commands_apart_have_the_work() {
    for tier in [Tier::Gvisor, Tier::Process] {
        let world = match tier {
            Tier::Gvisor => World::builder().profiles(&tiers::apart(tier, 2)).build(),
            Tier::Process | Tier::Kata => tiers::builder(tier).profiles(&tiers::apart(tier, 2)).build(),
        };
        let mut session = tiers::open(&world, tier);
        session.approved(&world.person, &["sh", "-c", "echo x > made"]).finish();
        let source = session.opened.session;
        drop(session);
        let name = source.to_string();
        let words = ["run", "--isolation", tier.name(), "--from", &name, "--", "cat", "made"];
        for _ in 0..2 {
            assert_eq!(good(world.ctl(&words)).out, "x\n", "{tier:?}");
        }
        world.verify_audit();
    }
}
