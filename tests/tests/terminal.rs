//! Rows I2 and P4 for programs at a terminal: they have one, and never the person's.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::stream::{Exit, Kind};
use closedpaw_protocol::{Action, Effect, Stdin};
use closedpaw_tests::raw::{Running, Session};
use closedpaw_tests::terminal::{QUESTION, Shown, Terminal};
use closedpaw_tests::world::{World, field, until};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// `closedpawctl run --tty -- WORDS` at a terminal of 80 by 24, where the person has said yes.
fn at_terminal(world: &World, words: &[&str]) -> Terminal {
    let mut terminal = unasked(world, words);
    terminal.expect(QUESTION);
    terminal.write("y\n");
    terminal
}

/// The same for what is not asked about.
fn unasked(world: &World, words: &[&str]) -> Terminal {
    let words: Vec<&str> = ["run", "--tty", "--"].iter().chain(words).copied().collect();
    Terminal::watched(&world.person.ctl_command(&words), 80, 24)
}

#[track_caller]
fn ends(terminal: Terminal, status: i32) -> Shown {
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(status), "{:?}", shown.seen);
    shown
}

#[test]
fn a_program_has_a_terminal_of_its_own_and_the_persons_is_as_before() {
    let world = World::new();
    let words = [
        "sh",
        "-c",
        "tty; stty size; echo $TERM; test -t 0 && test -t 1 && test -t 2 && echo three; : < $(tty) && echo by name; exit 7",
    ];
    let mut terminal = unasked(&world, &words);
    let before = terminal.modes();
    terminal.expect(QUESTION);
    assert!(terminal.screen().text().contains("a terminal: what you type while it runs"));
    terminal.write("y\n");
    terminal.shows_text("/dev/pts/0\n24 80\nxterm-256color\nthree\nby name");
    until("it is as it was", || (terminal.modes() == before).then_some(()));
    let shown = ends(terminal, 7);
    let (asked, drawn) = (shown.seen.find(QUESTION).unwrap(), shown.seen.find("\u{1b}[?7l").unwrap());
    assert!(asked < drawn, "the question comes before the program");
    world.verify_audit();
}

#[test]
fn without_a_terminal_none_is_given() {
    let world = World::new();
    let ran = world.ctl(&["run", "--tty", "--", "true"]);
    assert_eq!(ran.code, Some(64), "{ran}");
    assert!(ran.err.contains("no-terminal"), "{ran}");
    assert!(world.records().work().is_empty());
    // Nor where it is not asked for.
    let shown =
        Terminal::start(world.person.ctl_command(&["run", "-q", "--", "stat", "-L", "/dev/stdin"]), false)
            .finish();
    assert!(
        shown.seen.contains("character special file") && !shown.seen.contains("/dev/pts"),
        "{}",
        shown.seen
    );
    world.verify_audit();
}

/// A rule may name it.
#[test]
fn a_rule_can_forbid_terminals() {
    let world = World::new();
    world.write_policy(
        "60-none.toml",
        "version = 1\n[[rule]]\nname = \"no terminals\"\ndeny = [\"exec\"]\nstdin = \"terminal\"\n",
    );
    ends(unasked(&world, &["cat", "notes"]), 77);
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    assert!(world.records().work().len() == 1);
    world.verify_audit();
}

/// A rule may allow it, too, and its limits hold.
#[test]
fn a_program_at_a_terminal_ends_with_its_time() {
    let world = World::new();
    world.write_policy(
        "60-short.toml",
        "version = 1\n[[rule]]\nname = \"short\"\nallow = [\"exec\"]\nargv = [[\"sleep\", \"*\"]]\nstdin = \"terminal\"\nrole = [\"agent\", \"approver\"]\nlabels = { untrusted = [\"workspace\"] }\nlimits = { seconds = 1 }\n",
    );
    let shown = ends(unasked(&world, &["sleep", "1000"]), 124);
    assert!(shown.seen.contains("time-limit") && !shown.seen.contains(QUESTION), "{}", shown.seen);
    // Without a terminal it is asked about, as everything else.
    let ran = world.ctl(&["run", "--", "sleep", "1000"]);
    assert_eq!(ran.code, Some(77), "{ran}");
    world.verify_audit();
}

#[test]
fn a_new_size_reaches_the_program() {
    let world = World::new();
    let words = ["sh", "-c", "trap 'stty size' WINCH; echo re''ady; while :; do sleep 0.1; done"];
    let mut terminal = at_terminal(&world, &words);
    terminal.shows_text("ready");
    for (columns, rows) in [(100, 30), (20, 10), (1, 1), (200, 60)] {
        terminal.resize(columns, rows);
        let size = format!("{rows} {columns}");
        if columns > 10 {
            terminal.shows_text(&size);
        }
    }
    terminal.write("\u{3}");
    ends(terminal, 130);
    world.verify_audit();
}

#[test]
fn keys_interrupt_and_stop_what_is_in_the_foreground() {
    let world = World::new();
    let mut terminal = at_terminal(&world, &["bash", "--norc", "-i"]);
    let types = |terminal: &mut Terminal, line: &str, shows: &str| {
        terminal.write(line);
        terminal.shows_text(shows);
    };
    types(&mut terminal, "sh -c 'echo fir\"\"st; exec sleep 1000'\r", "first");
    types(&mut terminal, "\u{3}echo \"status $?\" o''ne\r", "status 130 one");
    types(&mut terminal, "sh -c 'echo sec\"\"ond; read -r x; echo \"got $x\"'\r", "second");
    types(&mut terminal, "\u{1a}echo \"status $?\" t''wo\r", "status 148 two");
    types(&mut terminal, "jobs; echo thr''ee\r", "three");
    terminal.write("fg\r");
    terminal.shows("its name once more", |screen| screen.text().matches("echo \"got $x\"'").count() == 4);
    // A line feed ends a line in whichever mode the terminal is by then.
    types(&mut terminal, "thing\n", "got thing");
    types(&mut terminal, "echo fo''ur\r", "four");
    types(&mut terminal, "jobs; echo fi''ve\r", "five");
    types(&mut terminal, "stty -a | grep -o isig; echo s''ix\r", "six");
    terminal.write("exit 9\r");
    ends(terminal, 9);
    world.verify_audit();
}

/// A session's own action with a terminal, that the person said yes to, ordered and sized.
fn with_terminal(world: &World, session: &mut Session, argv: &[&str]) -> (Action, Running) {
    let mut action = session.opened.exec(argv);
    let Effect::Exec { stdin, .. } = &mut action.effect else { unreachable!() };
    *stdin = Stdin::Terminal;
    let question = session.act(&action, None).unwrap().pending();
    session.console.approve(&world.person.key(), &question).unwrap();
    let mut running = session.act(&action, Some(question.id)).unwrap().running();
    running.order().unwrap();
    (action, running)
}

/// Reads what the program says until that contains this.
fn hear(running: &mut Running, text: &str) {
    let mut heard = String::new();
    while !heard.contains(text) {
        match running.hear() {
            Some((Kind::Stdout, bytes)) => heard.push_str(&String::from_utf8_lossy(&bytes)),
            other => panic!("{other:?} after {heard:?}"),
        }
    }
}

#[test]
fn nothing_is_left_when_the_client_goes() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let jobs = "set -m; sleep 1001 & (trap '' HUP; sleep 1002) & trap 'echo told > /workspace/told; exit' HUP; echo re''ady; while :; do sleep 0.1; done";
    let (_, mut running) = with_terminal(&world, &mut session, &["sh", "-c", jobs]);
    running.say(Kind::Resize, &[0, 80, 0, 24]).unwrap();
    hear(&mut running, "ready");
    drop(running);
    until("every process of its session has gone", || {
        let (out, ..) = session.approved(&world.person, &["pgrep", "-x", "sleep"]).finish();
        out.is_empty().then_some(())
    });
    let told = session.opened.exec(&["cat", "told"]);
    assert_eq!(
        session.act(&told, None).unwrap().running().finish().0,
        b"told\n",
        "it was told before it was killed"
    );
    drop(session);
    world.verify_audit();
}

#[test]
fn nothing_is_left_when_the_program_has_ended() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (_, mut running) =
        with_terminal(&world, &mut session, &["sh", "-c", "set -m; (trap '' HUP; exec sleep 1003) & exit 5"]);
    running.say(Kind::Resize, &[0, 80, 0, 24]).unwrap();
    while let Some((kind, payload)) = running.hear() {
        if kind == Kind::Exit {
            assert_eq!(Exit::from_bytes(&payload), Ok(Exit::Status(5)));
        }
    }
    let (out, ..) = session.approved(&world.person, &["pgrep", "-x", "sleep"]).finish();
    assert_eq!(out, b"");
    drop(session);
    world.verify_audit();
}

/// A size comes first and is one; a terminal has no end of input; what has no terminal has no size.
#[test]
fn a_frame_that_has_no_place_ends_the_work() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let first: [(Kind, &[u8]); 7] = [
        (Kind::Resize, &[0, 0, 0, 24]),
        (Kind::Resize, &[0, 80, 0, 0]),
        (Kind::Resize, &[3, 0xe9, 0, 24]),
        (Kind::Resize, &[0, 80, 3, 0xe9]),
        (Kind::Resize, &[0, 80, 0]),
        (Kind::Stdin, b"x"),
        (Kind::Signal, &[15]),
    ];
    let after: [(Kind, &[u8]); 3] = [(Kind::StdinEnd, &[]), (Kind::Resize, &[0xff; 4]), (Kind::Stdout, b"x")];
    let cases = first.iter().map(|case| (false, case)).chain(after.iter().map(|case| (true, case)));
    for (sized, (kind, payload)) in cases {
        let (_, mut running) = with_terminal(&world, &mut session, &["sh", "-c", "echo re''ady; sleep 1000"]);
        if sized {
            running.say(Kind::Resize, &[0, 80, 0, 24]).unwrap();
            hear(&mut running, "ready");
        }
        running.say(*kind, payload).unwrap();
        let exit = loop {
            match running.hear() {
                Some((Kind::Exit, payload)) => break Exit::from_bytes(&payload).unwrap(),
                Some((Kind::Stdout, _)) => {}
                other => panic!("{kind:?} {payload:?}: {other:?}"),
            }
        };
        assert_eq!(exit, Exit::Signal(9), "{kind:?} {payload:?}");
    }
    let mut running = session.approved(&world.person, &["sleep", "1000"]);
    running.order().unwrap();
    running.say(Kind::Resize, &[0, 80, 0, 24]).unwrap();
    assert_eq!(running.hear(), Some((Kind::Exit, Exit::Signal(9).to_bytes().to_vec())));
    let (out, ..) = session.approved(&world.person, &["pgrep", "-x", "sleep"]).finish();
    assert_eq!(out, b"");
    drop(session);
    world.verify_audit();
}

#[test]
fn full_screen_programs_draw() {
    let world = World::new();
    let lines: String = (1..=200).map(|number| format!("line {number} of the file\n")).collect();
    world.person.write("file", lines.as_bytes());
    let script = "printf '\\033[?1049h\\033[2J\\033[12;30H\\033[1;31mmiddle'; read -r line; printf '\\033[?1049l'; echo \"after $line\"";
    let mut terminal = at_terminal(&world, &["sh", "-c", script]);
    terminal
        .shows("the middle", |screen| screen.is_alternate() && screen.rows()[11].get(29..) == Some("middle"));
    terminal.write("it\r");
    terminal.shows("what comes after", |screen| !screen.is_alternate() && screen.text().contains("after it"));
    ends(terminal, 0);
    if Path::new("/usr/bin/less").exists() {
        let mut terminal = at_terminal(&world, &["less", "file"]);
        terminal.shows_text("line 1 of the file\nline 2 of the file");
        terminal.write("G");
        terminal.shows_text("line 199 of the file\nline 200 of the file");
        // A cursor key, in the form that less asked its own terminal for.
        terminal.write("\u{1b}[A");
        terminal.shows("a line further up", |screen| screen.rows()[0] == "line 177 of the file");
        terminal.write("q");
        ends(terminal, 0);
    }
    if Path::new("/usr/bin/vi").exists() {
        let mut terminal = at_terminal(&world, &["vi", "new"]);
        terminal.shows("its empty lines", |screen| screen.rows()[20] == "~");
        terminal.write("itext that vi wrote\u{1b}");
        terminal.shows_text("text that vi wrote");
        terminal.write(":wq\r");
        let shown = ends(terminal, 0);
        assert!(shown.seen.contains("+ new"), "{}", shown.seen);
    }
    world.verify_audit();
}

/// OSC 8, 52 and titles, DCS, APC, questions, modes, 8-bit and two-byte C1, bidi, zero widths, tags, half sequences.
const ATTACKS: &[&[u8]] = &[
    b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]52;c;AAAA\x07\x1b]52;c;?\x07",
    b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1bktitle\x1b\\",
    b"\x1bP1$r0m\x1b\\\x1bP+q544e\x1b\\\x1bP0;1|17/41\x1b\\\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\",
    b"\x1b[5n\x1b[6n\x1b[?6n\x1b[c\x1b[>c\x1b[=c\x1b[21t\x1b[14t\x1b[18t\x1b[x\x1b[?2004$p\x05\x1bZ",
    b"\x1b]10;?\x07\x1b]11;?\x1b\\\x1b]4;1;?\x07\x1b]50;?\x07\x1b]1337;File=:AAAA\x07\x1b]7;file:///\x07\x1b]133;A\x07",
    b"\x1b[?2004h\x1b[?1000h\x1b[?1002h\x1b[?1003h\x1b[?1006h\x1b[?9h\x1b[?1004h\x1b[?2026h\x1b[>4;2m\x1b[>1u\x1b[?5h\x1b[?3h",
    b"\x1b[8;10;10t\x1b[3;0;0t\x1b[9;1t\x1b[2t\x1b[22;0t\x1b[5i\x1b[4i\x1b[0q\x1b[3J\x1bc\x1b#8\x1b[!p\x1b[4l\x1b[20h\x1b=\x1b>",
    b"\x9b31m\x9d0;title\x9c\x90q\x9c\x84\x85\x8d\xc2\x9b6n\xc2\x9d52;c;AAAA\xc2\x9c\xc2\x90q\xc2\x9c\xc2\x85",
    "bidi \u{202e}\u{202d}\u{2066}\u{2067}\u{2069}\u{200e}\u{200f}\u{61c}".as_bytes(),
    "zero \u{200b}\u{200c}\u{200d}\u{feff}\u{2060}\u{ad}\u{e0041}\u{e007f}\u{fe0f}\u{34f}\u{301}\u{2028}\u{3164}".as_bytes(),
    b"bell\x07 del\x7f nul\0 \xff\xfe\xc3 \xe2\x82 \xf8\x88\x80\x80\x80 \xed\xa0\x80",
    b"\x1b", b"\x1b[", b"\x1b[1;", b"\x1b[?", b"\x18\x1b]0;half", b"\x18\x1bPhalf", b"\x18\x1b_half", b"\x18",
];

#[test]
fn nothing_that_a_program_says_acts_on_the_persons_terminal() {
    let world = World::new();
    let mut attack = Vec::new();
    for (number, part) in ATTACKS.iter().enumerate() {
        attack.extend(format!("\x18\r\n{number} ").bytes());
        attack.extend(*part);
    }
    attack.extend(b"\x18\r\nthe end\r\n");
    world.person.write("attack", &attack);
    // Whatever the person's terminal is sent that it should not be fails as it is read.
    let mut terminal = unasked(&world, &["cat", "attack"]);
    terminal.shows_text("the end");
    let whole = ends(terminal, 0);
    let mut terminal = at_terminal(&world, &["dd", "if=attack", "bs=1", "status=none"]);
    terminal.shows_text("the end");
    ends(terminal, 0);
    for part in ATTACKS {
        world.person.write("attack", part);
        ends(unasked(&world, &["cat", "attack"]), 0);
    }
    for c in ['\u{202e}', '\u{200b}', '\u{e0041}', '\u{feff}', '\u{9b}', '\u{7}'] {
        assert!(!whole.seen.contains(c), "{c:?}");
    }
    world.verify_audit();
}

/// What a program asks its terminal is answered by the emulator; the person's terminal is not asked.
#[test]
fn what_a_program_asks_is_answered_from_the_emulators_state() {
    let world = World::new();
    let script = "stty raw -echo; printf '\\033[5;7H\\033[6n'; a=$(dd bs=1 count=6 status=none | od -An -c | tr -d ' \\n'); stty sane; printf '\\033[2J\\033[H'; echo \"heard $a\"";
    let mut terminal = at_terminal(&world, &["sh", "-c", script]);
    terminal.shows_text("heard 033[5;7R");
    ends(terminal, 0);
    world.verify_audit();
}

#[test]
fn a_flood_is_drawn_in_pictures_and_ends_at_its_limit() {
    let world = World::new();
    let began = Instant::now();
    let mut terminal = at_terminal(
        &world,
        &["sh", "-c", "yes 'a line of the flood' | head -c 10000000; echo; echo the e''nd; read -r key"],
    );
    terminal.shows_text("the end");
    let kilobytes: u64 = field(terminal.id(), "VmHWM:").trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kilobytes < 64 << 10, "{kilobytes} kB");
    terminal.write("\r");
    let shown = ends(terminal, 0);
    let (pictures, most) = (shown.seen.matches("\u{1b}[?25l").count(), 2 + began.elapsed().as_millis() / 20);
    assert!(pictures as u128 <= most, "{pictures} pictures, more than fifty a second");
    let mut terminal = unasked(&world, &["sh", "-c", "cat /dev/zero"]);
    let before = terminal.modes();
    terminal.expect(QUESTION);
    terminal.write("y\n");
    terminal.shows_text("output-limit");
    assert_eq!(terminal.modes(), before);
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(125), "{}", shown.seen);
    world.verify_audit();
}

/// However it ends, the terminal is as it was.
#[test]
fn the_persons_terminal_is_restored_at_any_end() {
    let mut world = World::new();
    let words = ["sh", "-c", "printf '\\033[?1049h\\033[31mre''ady'; sleep 1000"];
    let begin = |world: &World| {
        let mut terminal = unasked(world, &words);
        let modes = terminal.modes();
        terminal.expect(QUESTION);
        terminal.write("y\n");
        terminal.shows("the program", |screen| screen.is_alternate() && screen.text().contains("ready"));
        assert_ne!(terminal.modes(), modes, "raw");
        (terminal, modes)
    };
    let restored = |mut terminal: Terminal, modes, status| {
        terminal.shows("the end", |screen| !screen.is_alternate());
        until("as it was", || (terminal.modes() == modes).then_some(()));
        let shown = ends(terminal, status);
        assert!(shown.seen.contains("\u{1b}[?7h\u{1b}[?25h"), "{:?}", shown.seen);
    };
    let (mut terminal, modes) = begin(&world);
    terminal.write("~.");
    restored(terminal, modes, 255);
    // A program that takes no input does not hold the person, either.
    let (mut terminal, modes) = begin(&world);
    terminal.write(&"x".repeat(3_000_000));
    terminal.write("\r~.");
    restored(terminal, modes, 255);
    for (signal, status) in [("-TERM", 143), ("-HUP", 129), ("-QUIT", 131), ("-INT", 130)] {
        let (terminal, modes) = begin(&world);
        let id = terminal.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        restored(terminal, modes, status);
    }
    let (terminal, modes) = begin(&world);
    let sandboxes = match world.raw().request(&world.person.key(), &Request::Sandboxes, &[]) {
        Ok(Reply::Sandboxes(sandboxes)) => sandboxes,
        other => panic!("{other:?}"),
    };
    assert_eq!(world.ctl(&["sandbox", "kill", &sandboxes[0].id.to_string()]).code, Some(0));
    restored(terminal, modes, 70);
    let (terminal, _) = begin(&world);
    assert_eq!(terminal.hang_up().code(), Some(129));
    let (terminal, modes) = begin(&world);
    world.kill9();
    restored(terminal, modes, 69);
    world.start();
    world.verify_audit();
}

#[test]
fn a_program_at_a_terminal_goes_on_while_there_is_no_daemon() {
    let mut world = World::builder().managed().build();
    let mut terminal = at_terminal(&world, &["sh", "-i"]);
    terminal.write("echo be''fore\r");
    terminal.shows_text("before");
    world.kill9();
    terminal.write("echo with''out\r");
    terminal.shows_text("without");
    world.start();
    terminal.write("echo af''ter; stty size\r");
    terminal.shows_text("after\n24 80");
    terminal.write("exit 3\r");
    ends(terminal, 3);
    until("the store has nothing left of it", || world.manager().stored().is_empty().then_some(()));
    world.verify_audit();
}

/// Row P5: what was approved is what has the terminal.
#[test]
fn a_yes_without_a_terminal_gives_none() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let plain = session.opened.exec(&["sh", "-c", "tty"]);
    let question = session.act(&plain, None).unwrap().pending();
    session.console.approve(&world.person.key(), &question).unwrap();
    let mut other = plain.clone();
    let Effect::Exec { stdin, .. } = &mut other.effect else { unreachable!() };
    *stdin = Stdin::Terminal;
    let refused = session.act(&other, Some(question.id)).unwrap_err();
    assert_eq!(refused.code.word(), "approval-mismatch");
    let running = session.act(&plain, Some(question.id));
    if let Ok(running) = running {
        // And ordering it at the relay is no way either.
        let (.., exit) = running.running().finish_with(&other.seal().unwrap().0);
        assert_eq!(exit, Exit::Mismatch);
    }
    drop(session);
    world.verify_audit();
}
