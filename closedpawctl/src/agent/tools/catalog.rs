//! The tools as the model is told of them: names, descriptions and schemas.
#![forbid(unsafe_code)]

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

    /// Right arguments, for an error text.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Run => r#"{"argv":["wc","-l","notes.txt"]}"#,
            Self::ReadFile => r#"{"path":"notes.txt"}"#,
            Self::ListFiles => r#"{"path":"."}"#,
            Self::WriteFile => r#"{"path":"notes.txt","content":"one line\n"}"#,
        }
    }
}
