//! An action as it is written on a command line and in tables of cases.
#![forbid(unsafe_code)]

use crate::nearest::suggestion;
use crate::problem::show;
use crate::vocabulary::{ActionKind, Word};
use closedpaw_protocol::{Action, Digest, Effect, Revision, SandboxVerb, Sealed, SessionId, Stdin, Tier};

/// Not an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// There are no words.
    #[error("name an action: exec, read, fetch…")]
    Missing,
    /// The first word is no action.
    #[error("no such action: {}{}", show(.word), .hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Unknown {
        /// The word.
        word: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The words after it do not fit.
    #[error("write: {}", usage(*.0))]
    Usage(ActionKind),
}

/// How an action is written.
pub fn usage(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Open => "open PATH [--trusted]",
        ActionKind::Exec => {
            "exec [--cwd PATH] [--env NAME=VALUE]… [--stdin empty|sealed|live|terminal] -- PROGRAM [WORD…]"
        }
        ActionKind::List => "list PATH",
        ActionKind::Read => "read PATH",
        ActionKind::Write => "write PATH",
        ActionKind::Apply => "apply PATH…",
        ActionKind::Mount => "mount PATH [--writable]",
        ActionKind::Fetch => "fetch METHOD URL [--header NAME:VALUE]… [--body]",
        ActionKind::Connect => "connect HOST PORT",
        ActionKind::Cloud => "cloud PROVIDER HOST MODEL",
        ActionKind::Secret => "secret NAME HOST",
        ActionKind::Send => "send CHANNEL RECIPIENT",
        ActionKind::Remember => "remember KEY",
        ActionKind::Schedule => "schedule WHEN",
        ActionKind::Skill => "skill NAME",
        ActionKind::Tool => "tool SERVER TOOL",
        ActionKind::Sandbox => "sandbox list|kill|checkpoint|stop|start [ID]",
        ActionKind::Log => "log",
        ActionKind::Admin => "admin VERB",
    }
}

/// Stands for an input nobody has yet: no rule looks into one.
const INPUT: Sealed = Sealed { length: 0, digest: Digest([0; 32]) };

/// Reads an action. Inputs and digests that words cannot give are filled with zeros: no rule looks at them.
///
/// # Errors
/// Names the action, or how it is written.
pub fn parse_action_words<W: AsRef<str>>(words: &[W]) -> Result<Effect, WordsError> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let (first, rest) = words.split_first().ok_or(WordsError::Missing)?;
    let kind = ActionKind::of_word(first).ok_or_else(|| WordsError::Unknown {
        word: (*first).to_owned(),
        hint: suggestion(first, ActionKind::all().map(Word::word)),
    })?;
    effect(kind, rest).ok_or(WordsError::Usage(kind))
}

/// An action that nobody asks for, to see what policy says of it.
pub fn hypothetical(effect: Effect, isolation: Tier, profile: &str) -> Action {
    Action {
        session: SessionId([0; 16]),
        revision: Revision([0; 32]),
        isolation,
        profile: profile.to_owned(),
        effect,
    }
}

impl ActionKind {
    /// The action with this word.
    pub fn of_word(word: &str) -> Option<Self> {
        <Self as Word>::of(word)
    }
}

fn effect(kind: ActionKind, words: &[&str]) -> Option<Effect> {
    let own = |text: &str| text.to_owned();
    Some(match (kind, words) {
        (ActionKind::Open, [path]) => Effect::Open { workspace: own(path), trusted: false },
        (ActionKind::Open, [path, "--trusted"] | ["--trusted", path]) => {
            Effect::Open { workspace: own(path), trusted: true }
        }
        (ActionKind::Exec, words) => return exec(words),
        (ActionKind::List, [path]) => Effect::List { path: own(path) },
        (ActionKind::Read, [path]) => Effect::Read { path: own(path) },
        (ActionKind::Write, [path]) => Effect::Write { path: own(path), content: INPUT },
        (ActionKind::Apply, [_, ..]) => {
            let paths = words.iter().map(|path| own(path)).collect();
            Effect::Apply { generation: 0, diff: INPUT.digest, paths }
        }
        (ActionKind::Mount, [path]) => Effect::Mount { path: own(path), writable: false },
        (ActionKind::Mount, [path, "--writable"] | ["--writable", path]) => {
            Effect::Mount { path: own(path), writable: true }
        }
        (ActionKind::Fetch, [method, url, options @ ..]) => return fetch(method, url, options),
        (ActionKind::Connect, [host, port]) => Effect::Connect { host: own(host), port: port.parse().ok()? },
        (ActionKind::Cloud, [provider, host, model]) => {
            Effect::Cloud { provider: own(provider), host: own(host), model: own(model), body: INPUT }
        }
        (ActionKind::Secret, [name, host]) => Effect::Secret { name: own(name), host: own(host) },
        (ActionKind::Send, [channel, recipient]) => {
            Effect::Send { channel: own(channel), recipient: own(recipient), body: INPUT }
        }
        (ActionKind::Remember, [key]) => Effect::Remember { key: own(key), body: INPUT },
        (ActionKind::Schedule, [when]) => Effect::Schedule { when: own(when), action: INPUT.digest },
        (ActionKind::Skill, [name]) => Effect::Skill { name: own(name), digest: INPUT.digest },
        (ActionKind::Tool, [server, tool]) => {
            Effect::Tool { server: own(server), tool: own(tool), arguments: INPUT }
        }
        (ActionKind::Sandbox, [verb]) => Effect::Sandbox { verb: SandboxVerb::of(verb)?, id: None },
        (ActionKind::Sandbox, [verb, id]) => {
            Effect::Sandbox { verb: SandboxVerb::of(verb)?, id: Some(id.parse().ok()?) }
        }
        (ActionKind::Log, []) => Effect::Log,
        (ActionKind::Admin, [verb]) => Effect::Admin { verb: own(verb) },
        (_, _) => return None,
    })
}

fn exec(words: &[&str]) -> Option<Effect> {
    let (mut cwd, mut env, mut stdin) = (crate::WORKSPACE.to_owned(), vec![], Stdin::Empty);
    let mut rest = words;
    loop {
        rest = match rest {
            ["--", argv @ ..] => {
                let argv = argv.iter().map(|word| (*word).to_owned()).collect();
                return Some(Effect::Exec { argv, cwd, env, stdin });
            }
            ["--cwd", path, rest @ ..] => {
                cwd = (*path).to_owned();
                rest
            }
            ["--env", pair, rest @ ..] => {
                let (name, value) = pair.split_once('=')?;
                env.push((name.to_owned(), value.to_owned()));
                rest
            }
            ["--stdin", input, rest @ ..] => {
                stdin = match *input {
                    "empty" => Stdin::Empty,
                    "sealed" => Stdin::Sealed(INPUT),
                    "live" => Stdin::Live,
                    "terminal" => Stdin::Terminal,
                    _ => return None,
                };
                rest
            }
            _ => return None,
        };
    }
}

fn fetch(method: &str, url: &str, options: &[&str]) -> Option<Effect> {
    let (scheme, rest) = url.split_once("://")?;
    let standard = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (host, port) = split_port(authority, standard)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (mut headers, mut body) = (vec![], None);
    let mut rest = options;
    while !rest.is_empty() {
        rest = match rest {
            ["--body", rest @ ..] => {
                body = Some(INPUT);
                rest
            }
            ["--header", pair, rest @ ..] => {
                let (name, value) = pair.split_once(':')?;
                headers.push((name.to_owned(), value.trim_start().to_owned()));
                rest
            }
            _ => return None,
        };
    }
    Some(Effect::Fetch {
        method: method.to_owned(),
        scheme: scheme.to_owned(),
        host,
        port,
        path,
        headers,
        body,
    })
}

/// Host and port of an address; the brackets of an IPv6 address belong to neither.
fn split_port(authority: &str, standard: u16) -> Option<(String, u16)> {
    if let Some((host, port)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = port.strip_prefix(':').map_or(Some(standard), |port| port.parse().ok())?;
        return Some((host.to_owned(), port));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None => Some((authority.to_owned(), standard)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_can_be_written() {
        let lines: &[&[&str]] = &[
            &["open", "/home/u/work", "--trusted"],
            &["exec", "--cwd", "/tmp", "--env", "LANG=C", "--stdin", "live", "--", "ls", "--", "-l"],
            &["list", "/"],
            &["read", "notes.txt"],
            &["write", "a"],
            &["apply", "a", "b"],
            &["mount", "/x", "--writable"],
            &["fetch", "GET", "https://example.org:8443/a?b"],
            &["connect", "example.org", "22"],
            &["cloud", "p", "h", "m"],
            &["secret", "n", "h"],
            &["send", "c", "r"],
            &["remember", "k"],
            &["schedule", "daily"],
            &["skill", "s"],
            &["tool", "s", "t"],
            &["sandbox", "list"],
            &["log"],
            &["admin", "reload"],
        ];
        let kinds: Vec<_> =
            lines.iter().map(|words| ActionKind::of(&parse_action_words(words).unwrap())).collect();
        assert_eq!(kinds, ActionKind::ALL);
    }

    #[test]
    fn words_stay_words() {
        let Ok(Effect::Exec { argv, cwd, env, stdin }) =
            parse_action_words(&["exec", "--cwd", "/tmp", "--env", "A=b=c", "--", "ls", "--", "a b"])
        else {
            panic!()
        };
        assert_eq!(argv, ["ls", "--", "a b"]);
        assert_eq!((cwd.as_str(), env, stdin), ("/tmp", vec![("A".into(), "b=c".into())], Stdin::Empty));
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (url, want) in [
            ("https://example.org", Some(("example.org", 443, "/"))),
            ("http://example.org?q", Some(("example.org", 80, "/?q"))),
            ("http://[::1]:8080/x", Some(("::1", 8080, "/x"))),
            ("http://user@host/", Some(("user@host", 80, "/"))),
            ("ftp://example.org", None),
            ("http://a:b/", None),
            ("example.org", None),
        ] {
            let found = match parse_action_words(&["fetch", "GET", url]) {
                Ok(Effect::Fetch { host, port, path, .. }) => Some((host, port, path)),
                _ => None,
            };
            assert_eq!(found, want.map(|(h, p, q)| (h.to_owned(), p, q.to_owned())), "{url}");
        }
    }

    #[test]
    fn what_is_no_action_is_helped() {
        let error = |words: &[&str]| parse_action_words(words).unwrap_err().to_string();
        assert_eq!(error(&["exce", "--", "ls"]), "no such action: `exce` (did you mean `exec`?)");
        assert_eq!(error(&["read"]), "write: read PATH");
        assert_eq!(error(&[]), "name an action: exec, read, fetch…");
        assert_eq!(error(&["exec", "ls"]), format!("write: {}", usage(ActionKind::Exec)));
    }
}
