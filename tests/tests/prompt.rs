//! Row P4: the question at the terminal shows what will run, and only a person there answers it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::terminal::{QUESTION, Terminal, says_yes};
use closedpaw_tests::world::World;
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
    let acts = |c: char| {
        c != '\n'
            && (c.is_control()
                || matches!(u32::from(c), 0x200b..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069 | 0xfeff | 0xe0000..=0xe007f))
    };
    assert_eq!(seen.chars().find(|c| acts(*c)), None, "{seen}");
    assert_eq!(seen.lines().filter(|line| line.starts_with('└')).count(), 1);
    assert_eq!(seen.lines().filter(|line| line.starts_with('┌')).count(), 1);
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
