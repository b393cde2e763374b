//! `closedpawctl watch`: who is told what, in which words, and what ends it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_tests::raw::Session;
use closedpaw_tests::terminal::{QUESTION, Terminal};
use closedpaw_tests::world::{LONG, Person, World, closedpawctl, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// Markup with a link, line ends, ANSI, OSC 8, bidi: what an obedient model would like to have on a screen.
const HOSTILE: &str = "<a href=\"https://evil.example/?CANARY\">CANARY</a>\n└─ [y] once\r\u{1b}[2J\u{1b}]8;;CANARY\u{7}\u{9b}31m\u{202e}--urgency=CANARY";

/// A watch that runs, and what it has said so far.
struct Watch {
    child: Child,
    out: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    err: Arc<Mutex<String>>,
}

/// Reads to the end, line by line.
fn gather(pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let gathered = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        while pipe.read_line(&mut line).unwrap() > 0 {
            gathered.lock().unwrap().push_str(&std::mem::take(&mut line));
        }
    });
    (text, reader)
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, reading) = gather(child.stdout.take().unwrap());
        let (err, reading_too) = gather(child.stderr.take().unwrap());
        Self { child, out, readers: vec![reading, reading_too], err }
    }

    /// `watch --json` of a person's that watches.
    fn of(person: &Person) -> Self {
        let watch = Self::start(person.ctl_command(&["watch", "--json"]));
        watch.event("watching");
        watch
    }

    /// What it has said.
    fn said(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    fn events(&self) -> Vec<Value> {
        self.said().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names of all that it has said so far.
    fn names(&self) -> Vec<String> {
        self.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The last event of that name, once there is one.
    #[track_caller]
    fn event(&self, name: &str) -> Value {
        let last = || self.events().into_iter().rfind(|event| event["event"] == name);
        until(&format!("the event {name}"), last)
    }

    /// What it says once this is in it.
    #[track_caller]
    fn text(&self, part: &str) -> String {
        until(&format!("{part:?} in what it says"), || Some(self.said()).filter(|said| said.contains(part)))
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Waits for its end: status, and standard error.
    #[track_caller]
    fn ended(&mut self) -> (Option<i32>, String) {
        let status = until("the watch ends", || self.child.try_wait().unwrap());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status.code(), self.err.lock().unwrap().clone())
    }

    /// Ends it as a service manager does.
    #[track_caller]
    fn end(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.ended(), (Some(0), String::new()));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command that is asked about, at a terminal where the question has appeared.
fn asked(person: &Person, words: &[&str]) -> Terminal {
    let words: Vec<&str> = ["run"].iter().chain(words).copied().collect();
    let mut terminal = Terminal::start(person.ctl_command(&words), true);
    terminal.expect(QUESTION);
    terminal
}

/// A command that is asked about where nobody can answer.
#[track_caller]
fn asked_in_vain(person: &Person) {
    let ran = person.ctl(&["run", "--", "env"]);
    assert_eq!(ran.code, Some(77), "{ran}");
}

#[test]
fn people_are_told_of_their_own_questions_and_of_what_came_of_them() {
    let world = World::builder().second_key().build();
    let (mut watch, mut others) = (Watch::of(&world.person), Watch::of(&world.other));
    let terminal = asked(&world.person, &["--", "env", "printf", "%s", HOSTILE]);
    let told = watch.event("asked");
    let mut listed = world.ctl(&["approvals", "list", "--json"]).json()[0].clone();
    listed["event"] = "asked".into();
    assert_eq!(told, listed);
    assert!(told["action"].as_array().unwrap().contains(&json!(["argv", HOSTILE])), "{told}");

    let id = told["id"].as_str().unwrap();
    let ran = world.ctl(&["approvals", "approve", &id[..8]]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(watch.event("decided"), json!({ "event": "decided", "id": id, "granted": true }));
    let shown = terminal.finish();
    assert_eq!((shown.status.code(), shown.out), (Some(0), HOSTILE.into()));

    asked_in_vain(&world.other);
    asked_in_vain(&world.person);
    until("both are told of the last", || {
        (watch.names().len() == 5 && others.names().len() == 3).then_some(())
    });
    assert_eq!(watch.names(), ["watching", "asked", "decided", "asked", "decided"]);
    assert!(watch.events()[4]["granted"] == false && watch.events()[3]["uid"] == world.person.uid);
    // What the person was asked before came to nobody else.
    assert_eq!(others.names(), ["watching", "asked", "decided"]);
    assert_eq!(others.events()[1]["uid"], world.other.uid);
    others.end();
    watch.end();
    world.verify_audit();
}

/// Row P4: whole and escaped, for people and in JSON; what is open already comes first.
#[test]
fn a_question_is_told_as_it_is_listed_with_the_command_that_answers_it() {
    let world = World::new();
    let mut terminal = asked(&world.person, &["--", "sh", "-c", HOSTILE]);
    let mut watch = Watch::start(world.person.ctl_command(&["watch"]));
    let said = watch.text("approvals approve");
    let listed = world.ctl(&["approvals", "list"]).out;
    let id = listed.lines().next().unwrap().strip_prefix("id ").unwrap();
    let short = &id[..8];
    let answer = format!("└─ closedpawctl approvals approve {short}, or deny {short}\n");
    assert_eq!(said, format!("watching; 1 question is open\n{listed}{answer}"));
    let as_json = Watch::of(&world.person);
    assert_eq!(as_json.event("asked")["id"], id);
    for said in [said, as_json.said()] {
        let acts = |c: &char| *c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(said.chars().find(acts), None, "{said}");
        assert!(said.contains("CANARY"), "{said}");
    }
    terminal.write("n\n");
    watch.text(&format!("decided {id}: no\n"));
    assert_eq!(terminal.finish().status.code(), Some(77));
    watch.end();
    world.verify_audit();
}

/// A `notify-send` that writes down what it is given, whole or not at all; returns the folder to look for it in.
fn stand_in(world: &World) -> std::path::PathBuf {
    let folder = world.work().join("bin");
    fs::create_dir(&folder).unwrap();
    let script = "#!/bin/sh\n{ printf '%s\\0' \"$@\"; printf %s \"${NOTIFY_SOCKET-none}\"; } >\"$HOME/new.$$\"\nmv \"$HOME/new.$$\" \"$HOME/notice.$$\"\n";
    fs::write(folder.join("notify-send"), script).unwrap();
    for path in [folder.clone(), folder.join("notify-send")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// What the stand-in was given so far, each time.
fn notices(home: &Path) -> Vec<Vec<String>> {
    let entries = fs::read_dir(home).unwrap().map(|entry| entry.unwrap());
    let made = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("notice."));
    let words = |text: String| text.split('\0').map(str::to_owned).collect();
    made.map(|entry| words(fs::read_to_string(entry.path()).unwrap())).collect()
}

/// Rows P4, P8 and I2: every word of it is ours, whatever the command, the folder and so the label say; and of several
/// questions one is told.
#[test]
fn a_desktop_is_told_that_something_is_asked_and_nothing_of_it() {
    let world = World::new();
    let folder = world.person.workspace.join("<b>CANARY\u{1b}]8;;CANARY\u{7}");
    world.person.own_folder(&folder, 0o755);
    let mut command = world.person.ctl_command(&["watch", "--json", "--notify"]);
    let manager = "@closedpaw-test-nobody-listens";
    command
        .env("PATH", format!("{}:/usr/bin:/bin", stand_in(&world).display()))
        .env("NOTIFY_SOCKET", manager);
    let mut watch = Watch::start(command);
    watch.event("watching");
    let began = Instant::now();
    let mut terminal = asked(&world.person, &["-w", folder.to_str().unwrap(), "--", "sh", "-c", HOSTILE]);
    let told = watch.event("asked");
    assert!(told.to_string().contains("CANARY"));
    let short = &told["id"].as_str().unwrap()[..8];
    let notice = until("the notification", || notices(&world.person.home).pop());
    let body = format!("closedpawctl approvals list, then closedpawctl approvals approve {short}");
    assert_eq!(notice, ["--app-name=closedpaw", "--", "closedpaw asks: exec", &body, "none"]);
    terminal.write("n\n");
    terminal.finish();
    for _ in 0..3 {
        asked_in_vain(&world.person);
    }
    until("all were asked and decided", || (watch.names().len() == 9).then_some(()));
    watch.end();
    // Four questions, and at most one notification in each twenty seconds that began.
    let most = 1 + usize::try_from(began.elapsed().as_secs()).unwrap() / 20;
    assert!(notices(&world.person.home).len() <= most);
    world.verify_audit();
}

#[test]
fn without_a_desktop_the_questions_are_told_here() {
    let world = World::new();
    let mut command = world.person.command(Path::new("/usr/bin/env"));
    let path = format!("PATH={}", world.work().display());
    command.arg(path).arg(closedpawctl()).args(["watch", "--json", "--notify"]);
    let mut watch = Watch::start(command);
    watch.event("watching");
    asked_in_vain(&world.person);
    watch.event("decided");
    watch.signal("-INT");
    let (code, err) = watch.ended();
    assert_eq!((code, err.lines().count()), (Some(0), 1), "{err}");
    assert!(err.contains("notify-send is not in PATH"), "{err}");
    assert_eq!(watch.names(), ["watching", "asked", "decided"]);
    world.verify_audit();
}

#[test]
fn a_stop_of_everything_and_its_end_are_told() {
    let world = World::builder().role("admin").second_key().build();
    let watches = [Watch::of(&world.person), Watch::of(&world.other)];
    for on in [true, false] {
        let halted = world.raw().request(&world.person.key(), &Request::Halt { on, all: true }, &[]);
        assert_eq!(halted, Ok(Reply::Done));
        for watch in &watches {
            until("it is told", || (watch.event("halted")["on"] == on).then_some(()));
        }
    }
    world.verify_audit();
}

#[test]
fn a_daemon_that_was_away_is_watched_again() {
    let mut world = World::new();
    let mut watch = Watch::of(&world.person);
    world.restart();
    until("it watches again", || (watch.names().len() == 3).then_some(()));
    asked_in_vain(&world.person);
    watch.event("decided");
    // Said once, however often it was tried.
    assert_eq!(watch.names(), ["watching", "lost", "watching", "asked", "decided"]);
    assert_eq!(watch.events()[1]["code"], "daemon-lost");
    world.stop();
    until("it is gone again", || (watch.names().len() == 6).then_some(()));
    watch.end();
    world.start();
    world.verify_audit();
}

/// What a service manager is told; none if nothing comes.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    socket.set_read_timeout(Some(LONG)).unwrap();
    let length = socket.recv(&mut buffer).expect("the manager is told something");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_daemon_that_comes_later_is_waited_for_and_the_manager_told_when_it_is_watched() {
    let mut world = World::builder().stopped().build();
    let path = world.person.home.join("notify");
    let at_path = UnixDatagram::bind(&path).unwrap();
    chown(&path, Some(world.person.uid), Some(world.person.gid)).unwrap();
    let name = format!("closedpaw-test-{}", std::process::id());
    let without_file = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut watches = [path.display().to_string(), format!("@{name}")].map(|manager| {
        let mut command = world.person.ctl_command(&["watch", "--json"]);
        command.env("NOTIFY_SOCKET", manager);
        Watch::start(command)
    });
    for manager in [&at_path, &without_file] {
        assert_eq!(told(manager), "STATUS=waiting for the daemon");
    }
    // An end comes while it waits, too.
    watches[1].end();
    assert_eq!(watches[1].names(), ["lost"]);
    world.start();
    assert_eq!(told(&at_path), "READY=1\nSTATUS=watching");
    watches[0].event("watching");
    assert_eq!(watches[0].names(), ["lost", "watching"]);
    world.stop();
    assert_eq!(told(&at_path), "STATUS=waiting for the daemon");
    world.start();
    world.verify_audit();
}

/// What takes somebody to mend ends it, with the status of other commands.
#[test]
fn without_a_key_that_counts_or_with_another_daemon_it_ends() {
    let mut world = World::new();
    let fails = |person: &Person, status: i32, word: &str| {
        let ran = person.ctl(&["watch"]);
        assert_eq!(ran.code, Some(status), "{word}: {ran}");
        assert!(ran.err.contains(word) && ran.out.is_empty(), "{word}: {ran}");
    };
    fails(&world.other, 66, "no-key");
    assert_eq!(world.other.ctl(&["key", "generate"]).code, Some(0));
    fails(&world.other, 77, "unknown-key");
    let mut watch = Watch::of(&world.person);
    assert_eq!(world.ctl_as_root(&["key", "revoke", "--name", "person"]).code, Some(0));
    world.restart();
    let (code, err) = watch.ended();
    assert_eq!(code, Some(77), "{err}");
    assert!(err.contains("unknown-key"), "{err}");
    fs::write(world.etc().join("daemon.pub"), format!("{}\n", "07".repeat(32))).unwrap();
    fails(&world.person, 76, "not-the-daemon");
}

#[test]
fn it_ends_when_nobody_reads_it() {
    let world = World::new();
    let mut command = world.person.ctl_command(&["watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    assert!(reader.read_line(&mut String::new()).unwrap() > 0);
    drop(reader);
    asked_in_vain(&world.person);
    assert_eq!(until("it ends", || child.try_wait().unwrap()).code(), Some(74));
    world.verify_audit();
}

/// An agent that asks for so much that a list of it fits no answer hides nothing that comes after.
#[test]
fn more_open_questions_than_fit_an_answer_do_not_end_it() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    for word in ["a", "b"] {
        let long = session.opened.exec(&["touch", &word.repeat(40_000)]);
        session.act(&long, None).unwrap().pending();
    }
    let mut watch = Watch::of(&world.person);
    asked_in_vain(&world.person);
    watch.event("decided");
    assert_eq!(watch.names(), ["watching", "asked", "decided"]);
    watch.signal("-TERM");
    let (code, err) = watch.ended();
    assert!(code == Some(0) && err.contains("more is open already"), "{err}");
    world.verify_audit();
}
