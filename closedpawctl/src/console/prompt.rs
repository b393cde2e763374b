//! Asking the person: whole, escaped, bound to the digest of what is shown.
#![forbid(unsafe_code)]

use super::screen::{err, has_person, visible};
use closedpaw_protocol::message::Question;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcdrain, tcflush};
use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Yes, once.
    Once,
    /// No.
    No,
    /// No, and nothing else either.
    Stop,
    /// Nothing: the question was over before they did.
    Nothing,
}

/// The question as lines to show, or none where what would be shown is not what would run.
///
/// Everything between the two rules of the frame stands behind a bar, each argument on a line of its own with its line
/// ends escaped, so no argument can end the frame or look like a line of it.
pub fn render(question: &Question) -> Option<String> {
    let (_, digest) = question.action.seal()?;
    if digest != question.digest {
        return None;
    }
    let mut lines = vec![format!("┌─ closedpaw asks: {} ─", question.action.effect.name())];
    let mut argument = 0;
    for (name, value) in question.action.summary().iter().skip(1) {
        let name = if name == "argv" {
            argument += 1;
            format!("argv[{}]", argument - 1)
        } else {
            name.clone()
        };
        lines.push(format!("│ {name:<10} {}", visible(value)));
        lines.extend(lookalikes(value).map(|note| format!("│ {:<10} {note}", "")));
    }
    let place = if question.workspace.is_empty() { "none" } else { &question.workspace };
    for (name, value) in [
        ("workspace", place),
        ("label", &question.label.to_string()),
        ("rule", &question.rule),
        ("why", &question.why),
        ("digest", &question.digest.to_string()),
    ] {
        if !value.is_empty() {
            lines.push(format!("│ {name:<10} {}", visible(value)));
        }
    }
    lines.push("└─ [y] once   [n] no   [s] stop this session: ".to_owned());
    Some(lines.join("\n"))
}

/// The question without its choices, for where it is not answered on the spot.
pub fn block(question: &Question) -> Option<String> {
    let text = render(question)?;
    Some(text.rsplit_once('\n').map_or_else(String::new, |(block, _choices)| block.to_owned()))
}

/// Letters that look like others are pointed out; they are often right, and sometimes the whole attack.
fn lookalikes(value: &str) -> Option<String> {
    let mut foreign: Vec<char> = value.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).collect();
    foreign.sort_unstable();
    foreign.dedup();
    if foreign.is_empty() || !value.chars().any(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let names: Vec<String> = foreign
        .iter()
        .take(8)
        .map(|c| format!("{} is U+{:04X}", visible(&c.to_string()), u32::from(*c)))
        .collect();
    Some(format!("(mixed with letters that may look like others: {})", names.join(", ")))
}

/// Asks. Without a person at a terminal, past the question's time, or where the question is not what it says: no.
///
/// Blocks, until `over` can be read or is hung up as well; what was typed before the question is thrown away.
pub fn ask(question: &Question, over: &impl AsFd) -> Said {
    let Some(text) = render(question) else {
        err("! a question whose digest is not that of what it shows was refused\n");
        return Said::No;
    };
    if !has_person() {
        err(&format!("{text}no (nobody is at a terminal)\n"));
        return Said::No;
    }
    // A key that was on its way before the whole question was there is no answer to it; the choices come last.
    let (question_itself, choices) = text.rsplit_once('\n').unwrap_or(("", &text));
    err(&format!("{question_itself}\n"));
    let _ = tcdrain(io::stderr());
    let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH);
    err(choices);
    match read_line(remaining(question.until), over) {
        Line::Read(line) => match line.trim() {
            "y" | "Y" | "yes" | "once" => Said::Once,
            "s" | "S" | "stop" => Said::Stop,
            _ => Said::No,
        },
        Line::Over => Said::Nothing,
        Line::None => {
            err("no (nobody answered in time)\n");
            Said::No
        }
    }
}

/// Asks for a plain yes, at a terminal; none without a person at one. What was typed before the question is thrown away.
pub fn confirm(question: &str) -> Option<bool> {
    if !has_person() {
        return None;
    }
    let _ = tcdrain(io::stderr());
    let _ = tcflush(io::stdin(), FlushArg::TCIFLUSH);
    err(question);
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).is_ok();
    Some(read && matches!(line.trim(), "y" | "Y" | "yes"))
}

fn remaining(until: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(until).saturating_sub(now)
}

/// What came of waiting for a line.
enum Line {
    Read(String),
    Over,
    None,
}

fn read_line(within: Duration, over: &impl AsFd) -> Line {
    let end = Instant::now() + within;
    loop {
        let Some(left) = end.checked_duration_since(Instant::now()) else { return Line::None };
        let timeout = PollTimeout::try_from(left.min(Duration::from_secs(3600))).unwrap_or(PollTimeout::MAX);
        let stdin = io::stdin();
        let mut watched = [over.as_fd(), stdin.as_fd()].map(|place| PollFd::new(place, PollFlags::POLLIN));
        match poll(&mut watched, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return Line::None,
        }
        if watched.first().and_then(PollFd::any) != Some(false) {
            return Line::Over;
        }
        let mut line = String::new();
        return match stdin.lock().read_line(&mut line) {
            Ok(1..) => Line::Read(line),
            Ok(0) | Err(_) => Line::None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::{Action, ApprovalId, Effect, Label, Revision, SessionId, Stdin, Tier};

    fn question(argv: &[&str]) -> Question {
        let action = Action {
            session: SessionId([1; 16]),
            revision: Revision([2; 32]),
            isolation: Tier::Gvisor,
            profile: "default".into(),
            effect: Effect::Exec {
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                cwd: "/workspace".into(),
                env: vec![],
                stdin: Stdin::Empty,
            },
        };
        let digest = action.seal().unwrap().1;
        Question {
            id: ApprovalId([3; 16]),
            digest,
            action,
            label: Label::default(),
            workspace: "/home/me/project".into(),
            rule: "other work".into(),
            why: String::new(),
            uid: 1000,
            until: 0,
            wanted: 1,
            lease: false,
        }
    }

    /// Row P4: an argument that imitates the frame is one line inside it.
    #[test]
    fn an_argument_cannot_leave_its_line() {
        let forged = "x\n└─ [y] once   [n] no\n┌─ closedpaw asks: list ─\r\u{1b}[A";
        let shown = render(&question(&["echo", forged])).unwrap();
        assert_eq!(shown.lines().filter(|line| line.starts_with('└')).count(), 1);
        assert_eq!(shown.lines().filter(|line| line.starts_with('┌')).count(), 1);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    }

    /// Row P4: a long command is shown to its end.
    #[test]
    fn everything_that_would_run_is_shown() {
        let long = format!("{}END", "a".repeat(50_000));
        let shown = render(&question(&["echo", &long, "", "b c"])).unwrap();
        assert!(shown.contains("END") && shown.contains("argv[3]    b c") && shown.contains("argv[2]"));
    }

    /// Row P4: what is shown has the digest that is answered.
    #[test]
    fn a_question_that_lies_about_its_action_is_not_shown() {
        let mut lying = question(&["echo", "harmless"]);
        lying.digest.0[0] ^= 1;
        assert_eq!(render(&lying), None);
        assert_eq!(ask(&lying, &io::stdin()), Said::No);
    }

    #[test]
    fn letters_that_look_like_others_are_pointed_out() {
        let shown = render(&question(&["curl", "https://аpple.com"])).unwrap();
        assert!(shown.contains("U+0430"), "{shown}");
        assert!(!render(&question(&["curl", "https://apple.com"])).unwrap().contains("U+"));
    }
}
