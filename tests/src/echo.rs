//! A command in a sandbox that goes on as long as its input does, and says what it hears.
#![forbid(unsafe_code)]

use crate::world::{Person, until};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};

/// A file of rules that allows it; the shipped ones ask for it.
pub const RULE: &str = "version = 1\n[[rule]]\nname = \"tee\"\nallow = [\"exec\"]\nargv = [[\"tee\", \"*\"]]\nrole = [\"agent\", \"approver\"]\nlabels = { untrusted = [\"workspace\"] }\n";

/// `closedpawctl run` of it.
#[derive(Debug)]
pub struct Echo {
    client: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Echo {
    /// In a session of a person's, up to the moment at which it speaks.
    pub fn of(person: &Person) -> Self {
        Self::with(person, &[])
    }

    /// The same with more options of `closedpawctl run`.
    pub fn with(person: &Person, options: &[&str]) -> Self {
        let words = [&["run", "--quiet"], options, &["--", "tee", "/dev/null"]].concat();
        let mut command = person.ctl_command(&words);
        let mut client =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (client.stdin.take(), BufReader::new(client.stdout.take().unwrap()));
        let mut echo = Self { client, input, output };
        echo.says("before");
        echo
    }

    /// It hears a word, and says it.
    #[track_caller]
    pub fn says(&mut self, word: &str) {
        self.hears(word);
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), word);
    }

    /// It hears a word, whatever it makes of it.
    pub fn hears(&mut self, word: &str) {
        writeln!(self.input.as_mut().expect("an input"), "{word}").unwrap();
    }

    /// It hears no more.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Ends the client without a word.
    pub fn kill(&mut self) {
        self.client.kill().unwrap();
    }

    /// How the client ends.
    pub fn ended(&mut self) -> ExitStatus {
        until("the client ends", || self.client.try_wait().unwrap())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.client.kill());
        drop(self.client.wait());
    }
}
