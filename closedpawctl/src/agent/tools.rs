//! The four tools: what the model is told about them, and the only way from its words to a [`ToolCall`].
//!
//! The model's text is parsed once, here, into types that hold what they promise; the rest of the agent never
//! looks at the text again. A text that does not fit is an error *for the model*, which may try again.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Deserialize;

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

/// The tools by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `run`
    Run,
    /// `read_file`
    ReadFile,
    /// `list_files`
    ListFiles,
    /// `write_file`
    WriteFile,
}

impl Tool {
    /// All, in the order the model is told of them.
    pub const ALL: [Self; 4] = [Self::ListFiles, Self::ReadFile, Self::Run, Self::WriteFile];

    /// The tool with exactly this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::ReadFile => "read_file",
            Self::ListFiles => "list_files",
            Self::WriteFile => "write_file",
        }
    }

    /// What the model is told it does.
    pub fn description(self) -> &'static str {
        match self {
            Self::Run => {
                "Run one program in the folder, without a shell: no pipes, no wildcards, no &&. \
                 Gives its output and exit code."
            }
            Self::ReadFile => "Read a text file in the folder.",
            Self::ListFiles => {
                "List the files in a folder with the number of lines of each, and the total of files and lines."
            }
            Self::WriteFile => "Write a whole text file in the folder, replacing what was there.",
        }
    }

    /// The JSON schema of its arguments. Text, because servers generate in the order that stands here.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Run => {
                r#"{"type":"object","properties":{"argv":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":64,"description":"The program and its arguments, one word each, such as [\"wc\",\"-l\",\"notes.txt\"]"}},"required":["argv"],"additionalProperties":false}"#
            }
            Self::ReadFile => {
                r#"{"type":"object","properties":{"path":{"type":"string","description":"Relative to the folder"}},"required":["path"],"additionalProperties":false}"#
            }
            Self::ListFiles => {
                r#"{"type":"object","properties":{"path":{"type":"string","description":"Relative to the folder; . is the folder itself"}},"required":["path"],"additionalProperties":false}"#
            }
            Self::WriteFile => {
                r#"{"type":"object","properties":{"path":{"type":"string","description":"Relative to the folder"},"content":{"type":"string","description":"The whole file"}},"required":["path","content"],"additionalProperties":false}"#
            }
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Run => r#"{"argv":["wc","-l","notes.txt"]}"#,
            Self::ReadFile => r#"{"path":"notes.txt"}"#,
            Self::ListFiles => r#"{"path":"."}"#,
            Self::WriteFile => r#"{"path":"notes.txt","content":"one line\n"}"#,
        }
    }

    /// An empty text stands for no arguments: servers send it for `{}`.
    fn shape<'a, T: Deserialize<'a>>(self, arguments: &'a str) -> Result<T, BadCall> {
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
        let bad = |reason: &str| BadCall::Shape { tool: self.name(), reason: quoted(reason), example: self.example() };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, arguments: &str) -> Result<ToolCall, BadCall> {
        ToolCall::parse(name, arguments)
    }

    #[test]
    fn each_tool_parses_its_own_example() {
        for tool in Tool::ALL {
            assert_eq!(parse(tool.name(), tool.example()).unwrap().tool(), tool);
        }
    }

    #[test]
    fn schemas_are_json_and_name_the_fields_that_parse() {
        for tool in Tool::ALL {
            let schema: serde_json::Value = serde_json::from_str(tool.schema()).unwrap();
            let example: serde_json::Value = serde_json::from_str(tool.example()).unwrap();
            let wanted = schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>();
            assert_eq!(wanted, example.as_object().unwrap().keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_unknown_tool_is_refused_and_its_name_is_cut_and_quoted() {
        let error = parse(&"x\n".repeat(1000), "{}").unwrap_err();
        assert!(matches!(&error, BadCall::UnknownTool { name } if name.len() < 200 && !name.contains('\n')));
        assert!(parse("Run", "{}").is_err(), "names are exact");
    }

    #[test]
    fn unknown_missing_and_doubled_fields_are_refused() {
        for arguments in [
            r#"{"argv":["ls"],"cwd":"/"}"#,
            r#"{}"#,
            r#"{"argv":["ls"],"argv":["rm"]}"#,
            r#"{"argv":"ls -l"}"#,
            r#"{"argv":[1]}"#,
            r#"{"argv":["ls"]} {"argv":["rm"]}"#,
            r#"{"argv":["ls"]}x"#,
            r#"[["ls"]]"#,
            "null",
        ] {
            assert!(matches!(parse("run", arguments), Err(BadCall::Shape { .. })), "{arguments}");
        }
    }

    #[test]
    fn commands_keep_their_limits() {
        let run = |argv: Vec<String>| parse("run", &serde_json::json!({ "argv": argv }).to_string());
        assert_eq!(run(vec![]), Err(BadCall::NoProgram));
        assert_eq!(run(vec![String::new(), "x".into()]), Err(BadCall::NoProgram));
        assert!(run(vec!["x".into(); 64]).is_ok());
        assert_eq!(run(vec!["x".into(); 65]), Err(BadCall::TooManyWords));
        assert!(run(vec!["x".repeat(32 << 10)]).is_ok());
        assert_eq!(run(vec!["x".repeat(32 << 10), "y".into()]), Err(BadCall::CommandTooLong));
        assert_eq!(run(vec!["a\0b".into()]), Err(BadCall::Nul));
    }

    #[test]
    fn paths_stay_in_the_workspace() {
        let read = |path: &str| parse("read_file", &serde_json::json!({ "path": path }).to_string());
        for path in ["/etc/passwd", "..", "a/../../b", "../x", "//x"] {
            assert_eq!(read(path), Err(BadCall::NotInside), "{path}");
        }
        assert_eq!(read("a\0"), Err(BadCall::Nul));
        assert_eq!(read(&"a".repeat(4097)), Err(BadCall::PathTooLong));
        assert_eq!(WorkspacePath::new("./a//b/").unwrap().as_str(), "a/b");
        assert_eq!(WorkspacePath::new("..a/b..").unwrap().as_str(), "..a/b..");
        assert_eq!(WorkspacePath::new("").unwrap().as_str(), ".");
    }

    #[test]
    fn a_listing_without_arguments_is_of_the_workspace() {
        let here = ToolCall::ListFiles { path: WorkspacePath::new(".").unwrap() };
        for arguments in ["", " ", "{}", r#"{"path":"."}"#, r#"{"path":""}"#, r#"{"path":null}"#] {
            assert_eq!(parse("list_files", arguments), Ok(here.clone()), "{arguments}");
        }
    }

    #[test]
    fn content_keeps_its_limit() {
        let write = |content: String| {
            parse("write_file", &serde_json::json!({ "path": "a", "content": content }).to_string())
        };
        assert!(write("x".repeat(256 << 10)).is_ok());
        assert_eq!(write("x".repeat((256 << 10) + 1)), Err(BadCall::ContentTooLarge));
    }

    #[test]
    fn a_call_is_described_on_one_line() {
        let call = parse("run", r#"{"argv":["echo","a\nb"]}"#).unwrap();
        assert_eq!(call.to_string(), r#"run "echo" "a\nb""#);
    }
}
