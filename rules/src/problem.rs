//! What is wrong with a file: where, which stable code, and what to do about it.
#![forbid(unsafe_code)]

use std::fmt;

/// A file as it was read; this crate opens nothing itself.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// The name problems are reported under.
    pub name: &'a str,
    /// Its content.
    pub text: &'a str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What kind of problem. The words are stable: scripts and `policy/invalid/` compare them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

codes! {
    /// Not TOML.
    Syntax = "syntax",
    /// Longer than any policy needs to be.
    FileTooBig = "file-too-big",
    /// More rules than are read, over all files.
    TooManyRules = "too-many-rules",
    /// More problems than are listed for one file.
    TooManyProblems = "too-many-problems",
    /// `version` is missing.
    VersionMissing = "version-missing",
    /// A version this program does not know.
    VersionUnknown = "version-unknown",
    /// A key nobody reads.
    UnknownKey = "unknown-key",
    /// An action that does not exist.
    UnknownAction = "unknown-action",
    /// A kind of source that does not exist.
    UnknownLabel = "unknown-label",
    /// Another word out of a fixed list: a role, a tier, an argument.
    UnknownWord = "unknown-word",
    /// A value of the wrong type.
    WrongType = "wrong-type",
    /// A key that must be there.
    MissingKey = "missing-key",
    /// A key that has no meaning in this rule.
    MisplacedKey = "misplaced-key",
    /// Not exactly one of `allow`, `ask`, `deny`.
    OneVerdict = "one-verdict",
    /// A pattern that is not one.
    BadPattern = "bad-pattern",
    /// A condition that no action can meet.
    MatchesNothing = "matches-nothing",
    /// A number outside its bounds.
    OutOfRange = "out-of-range",
    /// A size that cannot be read.
    BadSize = "bad-size",
    /// A name that is not one.
    BadName = "bad-name",
    /// A template with braces that mean nothing.
    BadTemplate = "bad-template",
    /// A public key that is not 64 hexadecimal digits.
    BadKey = "bad-key",
    /// A time that cannot be read.
    BadTime = "bad-time",
    /// Two things of one name.
    DuplicateName = "duplicate-name",
    /// An `allow` by pattern of a program that can be told to run another.
    RunsOtherPrograms = "runs-other-programs",
    /// An `allow` of a program or script that a writable layer decides.
    WritableProgram = "writable-program",
    /// A variable that makes programs run or load something.
    HostileVariable = "hostile-variable",
    /// A condition that lets more through the more has been read.
    LabelInverted = "label-inverted",
    /// Another rule decides everything this one could.
    Unreachable = "unreachable",
    /// A table of cases without a case.
    NoCases = "no-cases",
    /// An image without its digest.
    Unpinned = "unpinned",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One problem at one place. Foreign text in it is escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, message, hint } = self;
        write!(f, "{file}:{line}:{column}: {code}: {message}")?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for Problem {}

/// The most characters of foreign text that a message repeats.
const SHOWN: usize = 60;

/// Foreign text as a message may repeat it: escaped, cut, between backticks.
pub(crate) fn show(text: &str) -> String {
    let mut shown = visible(text.chars().take(SHOWN));
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Foreign text without anything that steers a terminal or hides; a backslash is doubled, so that nothing is ambiguous.
pub(crate) fn visible(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for letter in text {
        match letter {
            '"' | '\'' => shown.push(letter),
            letter => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_compilers_do() {
        let problem = Problem {
            code: Code::UnknownKey,
            file: "a.toml".into(),
            line: 3,
            column: 7,
            message: "no such key `alow`".into(),
            hint: Some("did you mean `allow`?".into()),
        };
        assert_eq!(
            problem.to_string(),
            "a.toml:3:7: unknown-key: no such key `alow` (did you mean `allow`?)"
        );
    }

    #[test]
    fn words_are_kebab_case_and_distinct() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.word()).collect();
        assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(show("a\u{1b}[2J\u{202e}"), "`a\\u{1b}[2J\\u{202e}`");
    }
}
