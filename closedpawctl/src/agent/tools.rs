//! The four tools: what the model is told about them, and the only way from its words to a [`ToolCall`].
//!
//! The model's text is parsed once, here, into types that hold what they promise; the rest of the agent never
//! looks at the text again. A text that does not fit is an error *for the model*, which may try again.
#![forbid(unsafe_code)]

mod catalog;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

pub use self::catalog::Tool;

/// Words of one command.
pub const MAX_WORDS: usize = 64;
/// Bytes of one command, all words together.
pub const MAX_COMMAND: usize = 32 << 10;
/// Bytes of a path.
pub const MAX_PATH: usize = 4096;
/// Bytes of a file to write.
pub const MAX_CONTENT: usize = 256 << 10;

/// A tool call that keeps every rule of this module. It says nothing about whether it will be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolCall {
    /// Run a program, without a shell.
    Run {
        /// The program and its arguments.
        argv: Argv,
    },
    /// Read a text file.
    ReadFile {
        /// Which.
        path: WorkspacePath,
    },
    /// List a folder's files with their lines, and the totals.
    ListFiles {
        /// Which.
        path: WorkspacePath,
    },
    /// Write a text file, replacing what was there.
    WriteFile {
        /// Which.
        path: WorkspacePath,
        /// All of it.
        content: Content,
    },
}

/// A program and its arguments: at least one word, the first not empty, no NUL, within the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<String>);

/// A path that is relative and has no `..`; `.` is the workspace. Links are the sandbox's matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePath(String);

/// The content of a file, within the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(String);

/// What is wrong with a call. Its text is for the model, so it says how to do it right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// There is no such tool.
    #[error("there is no tool {name}; the tools are run, read_file, list_files and write_file")]
    UnknownTool {
        /// The name that was asked for, quoted and cut.
        name: String,
    },
    /// The arguments are not JSON, or not of the tool's shape.
    #[error("the arguments of {tool} do not fit ({reason}); they look like {example}")]
    Shape {
        /// The tool.
        tool: &'static str,
        /// What the parser says, quoted and cut.
        reason: String,
        /// Right arguments.
        example: &'static str,
    },
    /// No words, or an empty program name.
    #[error("argv needs a program as its first word")]
    NoProgram,
    /// Too many words.
    #[error("argv has more than {MAX_WORDS} words")]
    TooManyWords,
    /// Too long a command.
    #[error("argv has more than {MAX_COMMAND} bytes")]
    CommandTooLong,
    /// A NUL byte in a word or a path.
    #[error("a NUL byte cannot stand in a command or a path")]
    Nul,
    /// Too long a path.
    #[error("the path has more than {MAX_PATH} bytes")]
    PathTooLong,
    /// Not a path inside the workspace.
    #[error("the path must be relative to the folder, without a leading / and without ..")]
    NotInside,
    /// Too large a file.
    #[error("the content has more than {MAX_CONTENT} bytes")]
    ContentTooLarge,
}

impl ToolCall {
    /// The one door: a name and the JSON text of the arguments, both as the model gave them.
    pub fn parse(name: &str, arguments: &str) -> Result<Self, BadCall> {
        let tool = Tool::named(name).ok_or_else(|| BadCall::UnknownTool { name: quoted(name) })?;
        match tool {
            Tool::Run => {
                let RawRun { argv } = tool.shape(arguments)?;
                Ok(Self::Run { argv: Argv::new(argv)? })
            }
            Tool::ReadFile => {
                let RawRead { path } = tool.shape(arguments)?;
                Ok(Self::ReadFile { path: WorkspacePath::new(&path)? })
            }
            Tool::ListFiles => {
                let RawList { path } = tool.shape(arguments)?;
                Ok(Self::ListFiles { path: WorkspacePath::new(path.as_deref().unwrap_or("."))? })
            }
            Tool::WriteFile => {
                let RawWrite { path, content } = tool.shape(arguments)?;
                Ok(Self::WriteFile { path: WorkspacePath::new(&path)?, content: Content::new(content)? })
            }
        }
    }

    /// Which tool it is.
    pub fn tool(&self) -> Tool {
        match self {
            Self::Run { .. } => Tool::Run,
            Self::ReadFile { .. } => Tool::ReadFile,
            Self::ListFiles { .. } => Tool::ListFiles,
            Self::WriteFile { .. } => Tool::WriteFile,
        }
    }
}

impl fmt::Display for ToolCall {
    /// One line, every argument as a JSON string: for provenance and for logs, not for running.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tool().name())?;
        match self {
            Self::Run { argv } => {
                argv.words().iter().try_for_each(|word| write!(f, " {}", serde_json::json!(word)))
            }
            Self::ReadFile { path } | Self::ListFiles { path } | Self::WriteFile { path, .. } => {
                write!(f, " {}", serde_json::json!(path.as_str()))
            }
        }
    }
}

impl Argv {
    /// Checks the words.
    pub fn new(words: Vec<String>) -> Result<Self, BadCall> {
        if words.first().is_none_or(String::is_empty) {
            return Err(BadCall::NoProgram);
        }
        if words.len() > MAX_WORDS {
            return Err(BadCall::TooManyWords);
        }
        if words.iter().map(String::len).sum::<usize>() > MAX_COMMAND {
            return Err(BadCall::CommandTooLong);
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(BadCall::Nul);
        }
        Ok(Self(words))
    }

    /// The words; there is always a first one.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl WorkspacePath {
    /// Checks a path and leaves out what says nothing: `./a//b/` is `a/b`, and nothing at all is `.`.
    pub fn new(path: &str) -> Result<Self, BadCall> {
        if path.len() > MAX_PATH {
            return Err(BadCall::PathTooLong);
        }
        if path.contains('\0') {
            return Err(BadCall::Nul);
        }
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(BadCall::NotInside);
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        Ok(Self(if parts.is_empty() { ".".to_owned() } else { parts.join("/") }))
    }

    /// The path; `.` for the workspace itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Content {
    /// Checks the size.
    pub fn new(content: String) -> Result<Self, BadCall> {
        if content.len() > MAX_CONTENT { Err(BadCall::ContentTooLarge) } else { Ok(Self(content)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tool {
    /// An empty text stands for no arguments: servers send it for `{}`.
    fn shape<'a, T: Deserialize<'a>>(self, arguments: &'a str) -> Result<T, BadCall> {
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
        let bad = |reason: &str| BadCall::Shape {
            tool: self.name(),
            reason: quoted(reason),
            example: self.example(),
        };
        // serde would take `[["ls"]]` for a struct, too.
        if !arguments.starts_with('{') {
            return Err(bad("not an object"));
        }
        serde_json::from_str(arguments).map_err(|error| bad(&error.to_string()))
    }
}

// Raw shapes: they never leave this module.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRun {
    argv: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRead {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWrite {
    path: String,
    content: String,
}

/// Words of others inside our own sentence: short and on one line.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}
