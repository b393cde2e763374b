//! How often does a model answer the flagship question rightly? Run it by hand after a change of the prompt:
//!
//! ```sh
//! cargo run -p closedpawctl --example flagship -- /run/user/1000/closedpaw/model.sock [FOLDERS]
//! ```
//!
//! It makes small folders, asks about each, and looks for the true number in the answer. The hands are doubles:
//! they list, read and write in memory, and `run` knows only `wc -l`, `ls`, `cat` and `mkdir`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it is a measurement for whoever runs it")]

use std::collections::BTreeMap;
use std::time::Instant;

use closedpawctl::agent::conversation::Conversation;
use closedpawctl::agent::discover;
use closedpawctl::agent::limits::Limits;
use closedpawctl::agent::ports::{
    BoxStream, Dial, DialError, Endpoint, Failure, Hands, Kind, Note, ToolResult, Voice,
};
use closedpawctl::agent::tools::ToolCall;
use tokio::net::{TcpStream, UnixStream};

const QUESTION: &str = "How many lines do the files in this folder have in total?";

/// Questions of other kinds, each with what an answer has to hold.
const OTHERS: [(&str, &str); 9] = [
    ("How many files are there?", "3"),
    ("What is in notes.txt?", "milk"),
    ("Which file has the most lines?", "main.c"),
    ("How many lines does notes.txt have?", "2"),
    ("What does src/main.c print?", "hello"),
    ("How many lines do all the files have?", "11"),
    ("List the files in this folder.", "notes.txt"),
    ("How many lines of text are there in the whole folder?", "11"),
    ("count the lines", "11"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:11434".into());
    let folders: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(20);
    let verbose = words.next().is_some();
    let mut dial = Socket(address.clone());
    let endpoint = Endpoint {
        label: address,
        kind: Kind::Either,
        host_header: "localhost".into(),
        base_path: String::new(),
        model: None,
        embedded: false,
    };
    let model = match discover::find(&mut dial, &[endpoint], &mut Silent, &Limits::default()).await {
        Ok(model) => model,
        Err(none) => return println!("{none}"),
    };
    println!("{} by {:?}, context {}", model.name(), model.mode(), model.context());
    let begun = Instant::now();
    let mut right = 0;
    for seed in 0..folders {
        let folder = Folder::random(seed);
        let wanted = folder.lines().to_string();
        right += u64::from(asked(&model, &mut dial, folder, QUESTION, &wanted, verbose, seed).await);
    }
    println!("flagship: {right} of {folders}, {:.1} s each", begun.elapsed().as_secs_f64() / folders as f64);
    let mut right = 0;
    for (question, wanted) in OTHERS {
        right += u64::from(asked(&model, &mut dial, Folder::known(), question, wanted, true, 0).await);
    }
    println!("others: {right} of {}", OTHERS.len());
}

async fn asked(
    model: &discover::Model,
    dial: &mut Socket,
    folder: Folder,
    question: &str,
    wanted: &str,
    verbose: bool,
    seed: u64,
) -> bool {
    let random = seed.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
    let random = (u128::from(random) << 64 | u128::from(!random)).to_ne_bytes();
    let mut conversation = Conversation::new(model.clone(), random, Limits::default());
    let mut hands = Memory { folder, log: Vec::new() };
    let answer = conversation.ask(question, dial, &mut hands, &mut Silent).await;
    let text = answer.map(|answer| answer.text).unwrap_or_else(|error| format!("ERROR {error}"));
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let exact = words.map(|word| word.trim_matches('.')).any(|word| word == wanted);
    let right = exact || (wanted.parse::<u64>().is_err() && text.contains(wanted));
    if verbose || !right {
        let mark = if right { "right" } else { "WRONG" };
        println!("{mark} ({wanted}) {question} -> {text:?}\n      by {}", hands.log.join("; "));
    }
    right
}

struct Socket(String);

impl Dial for Socket {
    async fn dial(&mut self, _endpoint: usize) -> Result<BoxStream, DialError> {
        if self.0.starts_with('/') {
            let stream = UnixStream::connect(&self.0).await.map_err(|_| DialError::Unreachable)?;
            return Ok(Box::new(stream));
        }
        let stream = TcpStream::connect(&self.0).await.map_err(|_| DialError::Refused)?;
        Ok(Box::new(stream))
    }
}

struct Silent;

impl Voice for Silent {
    fn token(&mut self, _text: &str) {}
    fn passage_end(&mut self) {}
    fn thinking(&mut self, _text: &str) {}
    fn note(&mut self, note: &Note) {
        println!("      note: {note:?}");
    }
    fn tool_start(&mut self, _call: &ToolCall) {}
    fn tool_end(&mut self, _call: &ToolCall, _result: &ToolResult) {}
}

struct Folder(BTreeMap<String, String>);

impl Folder {
    fn known() -> Self {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        Self(BTreeMap::from([
            file("notes.txt", "Buy milk.\nCall Ada.\n"),
            file(
                "src/main.c",
                "#include <stdio.h>\n\nint main(void)\n{\n    puts(\"hello\");\n    return 0;\n}\n",
            ),
            file("todo.md", "- sleep\n- eat\n"),
        ]))
    }

    /// Two to seven files of up to 60 lines, some of them in a folder.
    fn random(seed: u64) -> Self {
        const NAMES: [&str; 12] = [
            "a.txt",
            "README.md",
            "main.rs",
            "data.csv",
            "notes/2024.txt",
            "notes/ideas.md",
            "Makefile",
            "src/lib.rs",
            "test.py",
            "index.html",
            "poem.txt",
            "src/util/hash.c",
        ];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let count = 2 + next(6);
        let files = (0..count).filter_map(|_| {
            let name = NAMES.get(next(12) as usize)?;
            let most = if next(3) == 0 { 60 } else { 9 };
            let lines = 1 + next(most);
            let text = (0..lines).map(|n| format!("{}\n", "word ".repeat(1 + (n % 5) as usize))).collect();
            Some(((*name).to_owned(), text))
        });
        Self(files.collect())
    }

    fn lines(&self) -> usize {
        self.0.values().map(|text| text.lines().count()).sum()
    }

    /// As closedpaw-init lists.
    fn list(&self, path: &str) -> ToolResult {
        let prefix = if path == "." { String::new() } else { format!("{path}/") };
        let mut out = String::new();
        let (mut files, mut lines, mut bytes) = (0, 0, 0);
        let mut folders = Vec::new();
        for (name, text) in &self.0 {
            let Some(name) = name.strip_prefix(&prefix) else { continue };
            for (at, _) in name.match_indices('/') {
                let folder = name.get(..at).unwrap_or_default().to_owned();
                if !folders.contains(&folder) {
                    out.push_str(&format!("{folder}/\n"));
                    folders.push(folder);
                }
            }
            let count = text.lines().count();
            out.push_str(&format!("{name}  {count} lines, {} bytes\n", text.len()));
            files += 1;
            lines += count;
            bytes += text.len();
        }
        if files == 0 && path != "." {
            return ToolResult::Failed { failure: Failure::NotFound, text: String::new() };
        }
        out.push_str(&format!("Total: {files} files, {lines} lines, {bytes} bytes.\n"));
        ToolResult::Done { text: out }
    }
}

struct Memory {
    folder: Folder,
    log: Vec<String>,
}

impl Hands for Memory {
    async fn call(&mut self, call: &ToolCall) -> ToolResult {
        self.log.push(call.to_string());
        let done = |text: &str| ToolResult::Done { text: text.to_owned() };
        let missing = || ToolResult::Failed { failure: Failure::NotFound, text: String::new() };
        match call {
            ToolCall::ListFiles { path } => self.folder.list(path.as_str()),
            ToolCall::ReadFile { path } => {
                self.folder.0.get(path.as_str()).map_or_else(missing, |text| done(text))
            }
            ToolCall::WriteFile { path, content } => {
                self.folder.0.insert(path.as_str().to_owned(), content.as_str().to_owned());
                done("")
            }
            ToolCall::Run { argv } => self.run(argv.words()),
        }
    }
}

impl Memory {
    fn run(&self, words: &[String]) -> ToolResult {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["ls", ..] => {
                let names: Vec<&str> = self.folder.0.keys().map(String::as_str).collect();
                ToolResult::Done { text: names.join("\n") }
            }
            ["mkdir", ..] => ToolResult::Done { text: String::new() },
            ["cat", name] => match self.folder.0.get(*name) {
                Some(text) => ToolResult::Done { text: text.clone() },
                None => failed(1, &format!("cat: {name}: No such file or directory\n")),
            },
            ["wc", "-l", names @ ..] => {
                let count = |name: &&str| {
                    let lines = self.folder.0.get(*name)?.lines().count();
                    Some((lines, format!("{lines} {name}\n")))
                };
                let counted: Option<Vec<(usize, String)>> = names.iter().map(count).collect();
                let Some(counted) = counted else { return failed(1, "wc: No such file or directory\n") };
                let total: usize = counted.iter().map(|(lines, _)| lines).sum();
                let lines: String = counted.into_iter().map(|(_, line)| line).collect();
                ToolResult::Done { text: format!("{lines}{total} total\n") }
            }
            _ => ToolResult::Failed { failure: Failure::NotStarted, text: String::new() },
        }
    }
}

fn failed(code: i32, text: &str) -> ToolResult {
    ToolResult::Failed { failure: Failure::Exit(code), text: text.to_owned() }
}
