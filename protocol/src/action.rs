//! The canonical action: what policy decides, what a person approves, what runs.
#![forbid(unsafe_code)]

use crate::{Digest, Revision, SandboxId, SessionId, codec};
use bincode::{Decode, Encode};

/// How strongly work is separated from the host. A tier that is missing is an error, never a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Tier {
    /// Namespaces, Landlock and seccomp; no kernel of its own.
    Process,
    /// gVisor's `runsc`.
    Gvisor,
    /// A virtual machine.
    Kata,
}

impl Tier {
    /// The word policy files and people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Gvisor => "gvisor",
            Self::Kata => "kata",
        }
    }
}

/// An input too large for a frame, passed as a sealed memory file.
///
/// The relay, not the judge, reads it and checks both fields before the work starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Sealed {
    /// Its length in bytes.
    pub length: u64,
    /// Its BLAKE3 hash.
    pub digest: Digest,
}

/// Where a command's standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Stdin {
    /// Nothing: end of file at once.
    Empty,
    /// Fixed bytes, known to whoever approves.
    Sealed(Sealed),
    /// Whatever the client sends while the command runs.
    Live,
    /// A terminal of the command's own, which is its standard output and standard error, too: what is typed there.
    Terminal,
}

/// What to do with sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum SandboxVerb {
    /// See them.
    List,
    /// End one.
    Kill,
    /// Save one's state.
    Checkpoint,
    /// End all of one's own, and begin none.
    Stop,
    /// Let work begin again.
    Start,
    /// Go back to what was saved.
    Restore,
}

impl SandboxVerb {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Kill => "kill",
            Self::Checkpoint => "checkpoint",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restore => "restore",
        }
    }
}

/// What is to happen. Every string is opaque to the daemon: compared, never interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Effect {
    /// Open a session on a workspace.
    Open {
        /// The folder as the person named it; the descriptor beside the opening is what counts.
        workspace: String,
        /// Whether the person vouches for the folder's content.
        trusted: bool,
    },
    /// Run a program in the sandbox.
    Exec {
        /// The program and its arguments, word by word; never a shell string.
        argv: Vec<String>,
        /// The working directory inside the sandbox.
        cwd: String,
        /// Variables beyond the profile's own, by name; only names the profile lists are accepted.
        env: Vec<(String, String)>,
        /// Standard input.
        stdin: Stdin,
    },
    /// List a folder of the sandbox.
    List {
        /// Its path inside the sandbox.
        path: String,
    },
    /// Read a file of the sandbox.
    Read {
        /// Its path inside the sandbox.
        path: String,
    },
    /// Write a file inside the sandbox's own layers.
    Write {
        /// Its path inside the sandbox.
        path: String,
        /// Its new content.
        content: Sealed,
    },
    /// Carry staged work over to the real files.
    Apply {
        /// The generation of the staging layer that was shown.
        generation: u64,
        /// The digest of the list of paths and per-file digests that was shown.
        diff: Digest,
        /// The paths, relative to the workspace.
        paths: Vec<String>,
    },
    /// Make another folder visible in a sandbox.
    Mount {
        /// Where it appears.
        path: String,
        /// Whether it can be written to.
        writable: bool,
    },
    /// Fetch a page through the gateway.
    Fetch {
        /// The HTTP method, upper case.
        method: String,
        /// `http` or `https`.
        scheme: String,
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Path and query.
        path: String,
        /// Headers beyond the gateway's own.
        headers: Vec<(String, String)>,
        /// The body.
        body: Option<Sealed>,
    },
    /// Open a connection from inside a sandbox.
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Send a conversation to a model off this machine.
    Cloud {
        /// The provider's name in policy.
        provider: String,
        /// The host.
        host: String,
        /// The model.
        model: String,
        /// The whole request.
        body: Sealed,
    },
    /// Use a secret at a host.
    Secret {
        /// The vault entry.
        name: String,
        /// The host it is for.
        host: String,
    },
    /// Send a message on a channel.
    Send {
        /// The channel's name in policy.
        channel: String,
        /// To whom.
        recipient: String,
        /// The message.
        body: Sealed,
    },
    /// Keep something beyond the session.
    Remember {
        /// Under which name.
        key: String,
        /// What.
        body: Sealed,
    },
    /// Do something later.
    Schedule {
        /// When, in the schedule's own notation.
        when: String,
        /// The digest of the action it will ask for.
        action: Digest,
    },
    /// Use an installed skill.
    Skill {
        /// Its name.
        name: String,
        /// The digest of its content.
        digest: Digest,
    },
    /// Call a tool of a tool server.
    Tool {
        /// The server's name in policy.
        server: String,
        /// The tool.
        tool: String,
        /// Its arguments.
        arguments: Sealed,
    },
    /// Look after sandboxes.
    Sandbox {
        /// What to do.
        verb: SandboxVerb,
        /// Which one, where one is meant.
        id: Option<SandboxId>,
    },
    /// Read the audit log.
    Log,
    /// Change what the daemon does for everybody.
    Admin {
        /// What to change.
        verb: String,
    },
}

impl Effect {
    /// The action's word in policy files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Exec { .. } => "exec",
            Self::List { .. } => "list",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Apply { .. } => "apply",
            Self::Mount { .. } => "mount",
            Self::Fetch { .. } => "fetch",
            Self::Connect { .. } => "connect",
            Self::Cloud { .. } => "cloud",
            Self::Secret { .. } => "secret",
            Self::Send { .. } => "send",
            Self::Remember { .. } => "remember",
            Self::Schedule { .. } => "schedule",
            Self::Skill { .. } => "skill",
            Self::Tool { .. } => "tool",
            Self::Sandbox { .. } => "sandbox",
            Self::Log => "log",
            Self::Admin { .. } => "admin",
        }
    }

    /// The sealed inputs, in the order in which their descriptors come after the stream's.
    pub fn sealed(&self) -> Option<Sealed> {
        match self {
            Self::Exec { stdin: Stdin::Sealed(input), .. } => Some(*input),
            Self::Write { content, .. } => Some(*content),
            Self::Fetch { body, .. } => *body,
            Self::Cloud { body, .. } | Self::Send { body, .. } | Self::Remember { body, .. } => Some(*body),
            Self::Tool { arguments, .. } => Some(*arguments),
            Self::Exec { .. }
            | Self::Open { .. }
            | Self::List { .. }
            | Self::Read { .. }
            | Self::Apply { .. }
            | Self::Mount { .. }
            | Self::Connect { .. }
            | Self::Secret { .. }
            | Self::Schedule { .. }
            | Self::Skill { .. }
            | Self::Sandbox { .. }
            | Self::Log
            | Self::Admin { .. } => None,
        }
    }
}

/// One effect in its circumstances. Its digest names it in approvals, grants and the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Action {
    /// The session that asks.
    pub session: SessionId,
    /// The policy the asker knows; another one in force is a refusal that names it.
    pub revision: Revision,
    /// The isolation the work runs under.
    pub isolation: Tier,
    /// The sandbox profile.
    pub profile: String,
    /// What is to happen.
    pub effect: Effect,
}

/// Keeps action digests apart from every other use of BLAKE3 here.
const CONTEXT: &str = "closedpaw 2026-11 action v1";

impl Action {
    /// The canonical bytes and their digest; `None` if they would not fit a frame.
    pub fn seal(&self) -> Option<(Vec<u8>, Digest)> {
        let bytes = codec::encode(self)?;
        let digest = digest(&bytes);
        Some((bytes, digest))
    }
}

/// The digest of an action's canonical bytes.
pub fn digest(action: &[u8]) -> Digest {
    Digest(blake3::derive_key(CONTEXT, action))
}

/// Text that comes from anywhere, made safe for a log line or a refusal: escaped and cut.
pub fn visible(text: &str) -> String {
    text.chars().take(128).flat_map(char::escape_default).collect()
}

impl Action {
    /// The action in words, in a fixed order: for the log and for people. Nothing in it is escaped yet.
    pub fn summary(&self) -> Vec<(String, String)> {
        let mut words = vec![("action", self.effect.name().to_owned())];
        words.extend(self.effect.words());
        words.push(("isolation", self.isolation.name().to_owned()));
        words.push(("profile", self.profile.clone()));
        words.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl Sealed {
    fn words(&self) -> String {
        format!("{} bytes, BLAKE3 {}", self.length, self.digest)
    }
}

impl Effect {
    fn words(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Open { workspace, trusted } => {
                vec![("workspace", workspace.clone()), ("trusted", trusted.to_string())]
            }
            Self::Exec { argv, cwd, env, stdin } => exec_words(argv, cwd, env, stdin),
            Self::List { path } | Self::Read { path } => vec![("path", path.clone())],
            Self::Write { path, content } => vec![("path", path.clone()), ("content", content.words())],
            Self::Apply { generation, diff, paths } => vec![
                ("generation", generation.to_string()),
                ("diff", diff.to_string()),
                ("paths", paths.join("\n")),
            ],
            Self::Mount { path, writable } => {
                vec![("path", path.clone()), ("writable", writable.to_string())]
            }
            Self::Fetch { method, scheme, host, port, path, headers, body } => {
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let mut words =
                    vec![("method", method.clone()), ("url", format!("{scheme}://{host}:{port}{path}"))];
                words.push(("headers", headers.join("\n")));
                words.extend(body.map(|body| ("body", body.words())));
                words
            }
            Self::Connect { host, port } => vec![("host", host.clone()), ("port", port.to_string())],
            Self::Cloud { provider, host, model, body } => vec![
                ("provider", provider.clone()),
                ("host", host.clone()),
                ("model", model.clone()),
                ("body", body.words()),
            ],
            Self::Secret { name, host } => vec![("secret", name.clone()), ("host", host.clone())],
            Self::Send { channel, recipient, body } => {
                vec![("channel", channel.clone()), ("recipient", recipient.clone()), ("body", body.words())]
            }
            Self::Remember { key, body } => vec![("key", key.clone()), ("body", body.words())],
            Self::Schedule { when, action } => vec![("when", when.clone()), ("what", action.to_string())],
            Self::Skill { name, digest } => vec![("skill", name.clone()), ("digest", digest.to_string())],
            Self::Tool { server, tool, arguments } => {
                vec![("server", server.clone()), ("tool", tool.clone()), ("arguments", arguments.words())]
            }
            Self::Sandbox { verb, id } => {
                let mut words = vec![("verb", verb.name().to_owned())];
                words.extend(id.map(|id| ("sandbox", id.to_string())));
                words
            }
            Self::Log => vec![],
            Self::Admin { verb } => vec![("verb", verb.clone())],
        }
    }
}

/// Word by word, so that where one argument ends and the next begins is never in doubt.
fn exec_words(
    argv: &[String],
    cwd: &str,
    env: &[(String, String)],
    stdin: &Stdin,
) -> Vec<(&'static str, String)> {
    let mut words: Vec<_> = argv.iter().map(|word| ("argv", word.clone())).collect();
    words.push(("cwd", cwd.to_owned()));
    words.extend(env.iter().map(|(name, value)| ("env", format!("{name}={value}"))));
    words.push((
        "stdin",
        match stdin {
            Stdin::Empty => "empty".to_owned(),
            Stdin::Sealed(input) => input.words(),
            Stdin::Live => "live from the client".to_owned(),
            Stdin::Terminal => "a terminal: what you type while it runs".to_owned(),
        },
    ));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(argv: &[&str]) -> Action {
        Action {
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
        }
    }

    #[test]
    fn where_one_word_ends_is_part_of_the_digest() {
        let (_, one) = action(&["rm", "a b"]).seal().unwrap();
        let (_, two) = action(&["rm", "a", "b"]).seal().unwrap();
        assert_ne!(one, two);
    }

    /// Row P2: what an approval is bound to is whatever the digest covers.
    #[test]
    fn every_circumstance_is_part_of_the_digest() {
        let base = action(&["ls"]);
        let mut others = vec![base.clone(); 8];
        others[0].session.0[0] ^= 1;
        others[1].revision.0[0] ^= 1;
        others[2].isolation = Tier::Process;
        others[3].profile.push('x');
        for (other, change) in others[4..].iter_mut().zip(0..) {
            let Effect::Exec { cwd, env, stdin, .. } = &mut other.effect else { unreachable!() };
            match change {
                0 => cwd.push('x'),
                1 => env.push(("LANG".into(), "C".into())),
                2 => *stdin = Stdin::Live,
                _ => *stdin = Stdin::Terminal,
            }
        }
        let mut digests: Vec<_> = others.iter().chain([&base]).map(|a| a.seal().unwrap().1).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 1);
    }
}
