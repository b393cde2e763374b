//! Row P4: the question at the terminal shows what will run, and only a person there answers it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::scripted::{Format, Say, Script, Server, Turn};
use closedpaw_tests::terminal::{QUESTION, Terminal, says_yes};
use closedpaw_tests::world::World;
use serde_json::json;
use std::io::Write;
use std::process::Stdio;

/// ANSI, OSC 8 and 52, CR, bidi, zero-width, tag characters, C1, the prompt's own frame, and 50 KB (GHSA-xww8-gqvh-92x9).
#[test]
fn what_is_shown_is_whole_and_escaped_and_what_runs() {
    let long = format!("{}END", "a".repeat(50_000));
    let hostile = [
        ("\u{1b}[2J\u{1b}[1A", r"\u{1b}[2J\u{1b}[1A"),
        (
            "\u{1b}]8;;http://evil\u{7}x\u{1b}]52;c;AAAA\u{7}",
            r"\u{1b}]8;;http://evil\u{7}x\u{1b}]52;c;AAAA\u{7}",
        ),
        ("harmless\rrm -rf", r"harmless\u{d}rm -rf"),
        ("a\u{202e}b\u{2066}c", r"a\u{202e}b\u{2066}c"),
        ("a\u{200b}b\u{feff}c", r"a\u{200b}b\u{feff}c"),
        ("a\u{e0041}b", r"a\u{e0041}b"),
        ("a\u{9b}31mb", r"a\u{9b}31mb"),
        (
            "x\n└─ [y] once   [n] no\n┌─ closedpaw asks: list ─",
            r"x\u{a}└─ [y] once   [n] no\u{a}┌─ closedpaw asks: list ─",
        ),
        (long.as_str(), long.as_str()),
    ];
    let world = World::new();
    let words: Vec<&str> = ["run", "--", "env", "printf", "%s|"]
        .into_iter()
        .chain(hostile.iter().map(|(word, _)| *word))
        .collect();
    let shown = says_yes(&world.person, &words);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    // What ran is what was typed, byte for byte.
    let expected: String = hostile.iter().map(|(word, _)| format!("{word}|")).collect();
    assert_eq!(String::from_utf8(shown.out).unwrap(), expected);
    // What was shown is all of it, and nothing of it can act on the terminal. The terminal adds CR to each line's end.
    let seen = shown.seen.replace("\r\n", "\n");
    for (_, escaped) in hostile {
        assert!(seen.contains(escaped), "{escaped:?} in {seen}");
    }
    assert_eq!(seen.chars().find(|c| acts(*c)), None, "{seen}");
    assert_eq!(seen.lines().filter(|line| line.starts_with('└')).count(), 1);
    assert_eq!(seen.lines().filter(|line| line.starts_with('┌')).count(), 1);
    world.verify_audit();
}

/// What could act on a terminal; the terminal itself adds CR to each line's end, which is taken away before.
fn acts(c: char) -> bool {
    c != '\n'
        && (c.is_control()
            || matches!(u32::from(c), 0x200b..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069 | 0xfeff | 0xe0000..=0xe007f))
}

/// What stands around the command is foreign, too: a folder can have any name (CVE-2026-27001).
#[test]
fn a_folders_name_is_escaped_in_the_question() {
    let world = World::new();
    let name = "a\u{1b}[2J\u{202e}b\n└─ [y] once   [n] no\r";
    let folder = world.person.workspace.join(name);
    world.person.own_folder(&folder, 0o755);
    let shown = says_yes(&world.person, &["run", "-w", folder.to_str().unwrap(), "--", "env", "true"]);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    let seen = shown.seen.replace("\r\n", "\n");
    let escaped = r"a\u{1b}[2J\u{202e}b\u{a}└─ [y] once   [n] no\u{d}";
    // As the workspace, and as what the session has read.
    assert!(seen.matches(escaped).count() >= 2, "{seen}");
    assert_eq!(seen.chars().find(|c| acts(*c)), None, "{seen}");
    assert_eq!(seen.lines().filter(|line| line.starts_with('└')).count(), 1);
    world.verify_audit();
}

/// A name with a line's end in it cannot say what the console says.
#[test]
fn a_changed_files_name_is_one_line() {
    let world = World::new();
    let name = "made\naudit log: |forged (9 records, verified)";
    let shown = says_yes(&world.person, &["run", "--", "touch", name]);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    let escaped = r"+ made\u{a}audit log: |forged (9 records, verified)";
    assert!(shown.seen.contains(escaped), "{}", shown.seen);
    let says = |line: &str| line.trim_start_matches(['·', ' ']).starts_with("audit log:");
    assert!(
        shown.seen.lines().filter(|line| says(line)).all(|line| !line.contains("forged")),
        "{}",
        shown.seen
    );
    world.verify_audit();
}

/// Row I2, for the terminal: nor can a model's answer, the tools it calls, what they put out, or names of changed files.
#[test]
fn nothing_that_a_model_or_a_tool_says_acts_on_the_terminal() {
    let world = World::new();
    let hostile = "a\u{1b}]52;c;AAAA\u{7}b\u{202e}c\u{9b}31m";
    let escaped = r"a\u{1b}]52;c;AAAA\u{7}b\u{202e}c\u{9b}31m";
    world.person.write("page", hostile.as_bytes());
    let turns = [
        Say::call("read_file", json!({ "path": "page" })),
        Say::call("write_file", json!({ "path": hostile, "content": "x" })),
        Say::text(hostile),
    ];
    let server = Server::start(Script::new(Format::OpenAi, turns.map(Turn::from))).unwrap();
    let url = format!("http://127.0.0.1:{}", server.port());
    let ask = world.person.ctl_command(&["ask", "What is this?", "--model-url", &url]);
    let shown = Terminal::start(ask, false).finish();
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    assert!(shown.seen.contains("▸ write_file"), "{}", shown.seen);
    for (what, before) in [("output", "│ "), ("a changed file", "+ "), ("the answer", "")] {
        let is = |line: &str| line.split_once(escaped).is_some_and(|(start, _)| start.contains(before));
        assert!(shown.seen.lines().any(is), "{what}: {}", shown.seen);
    }
    for raw in ["\u{1b}]", "\u{7}", "\u{202e}", "\u{9b}"] {
        assert!(!shown.seen.contains(raw), "{raw:?}: {}", shown.seen);
    }
    world.verify_audit();
}

#[test]
fn a_key_typed_before_the_question_does_not_answer_it() {
    let world = World::new();
    let mut terminal = Terminal::start(world.person.ctl_command(&["run", "--", "env"]), true);
    terminal.write("y\ny\ny\n");
    terminal.expect(QUESTION);
    terminal.write("n\n");
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(77), "{}", shown.seen);
    assert!(shown.seen.contains("answered-no") && shown.out.is_empty(), "{}", shown.seen);
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

#[test]
fn without_a_terminal_the_answer_is_no() {
    let world = World::new();
    let mut command = world.person.ctl_command(&["run", "--", "env"]);
    let mut client =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"y\ny\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{err}");
    assert!(err.contains("nobody is at a terminal") && output.stdout.is_empty(), "{err}");
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

#[test]
fn a_command_of_a_megabyte_is_refused() {
    let world = World::new();
    let part = "a".repeat(100_000);
    let words: Vec<&str> =
        ["run", "--", "true"].into_iter().chain(std::iter::repeat_n(part.as_str(), 10)).collect();
    let ran = world.ctl(&words);
    assert_eq!(ran.code, Some(65), "{}", ran.err.get(..200).unwrap_or(&ran.err));
    assert!(ran.err.contains("too-large"));
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

/// The first answer counts, wherever it is given. The question here ends with it, and the next one is answered here again.
#[test]
fn an_answer_elsewhere_ends_the_question_here() {
    let world = World::new();
    for (word, said) in [("approve", "(yes was said elsewhere)"), ("deny", "(no was said elsewhere")] {
        let touch = |name: &str| Turn::from(Say::call("run", json!({ "argv": ["touch", name] })));
        let turns = [touch("first"), touch("second"), Say::text("That is all.").into()];
        let server = Server::start(Script::new(Format::OpenAi, turns)).unwrap();
        let url = format!("http://127.0.0.1:{}", server.port());
        let command = world.person.ctl_command(&["ask", "What do you say?", "--model-url", &url]);
        let mut terminal = Terminal::start(command, false);
        terminal.expect_in_turn(QUESTION);
        let listed = world.ctl(&["approvals", "list", "--json"]).json();
        let ran = world.ctl(&["approvals", word, listed[0]["id"].as_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran}");
        terminal.expect_in_turn(said);
        terminal.expect_in_turn(QUESTION);
        terminal.write("y\n");
        let shown = terminal.finish();
        assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
        assert!(shown.seen.contains("That is all.") && shown.seen.contains("+ second"), "{}", shown.seen);
        assert_eq!(shown.seen.contains("+ first"), word == "approve", "{}", shown.seen);
    }
    world.verify_audit();
}
