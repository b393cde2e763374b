//! The real program with the real weights.
//!
//! Weights are taken from `$CLOSEDPAW_WEIGHTS`, else from where `closedpawctl model fetch` puts them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

fn weights() -> PathBuf {
    let kept = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cache"));
        cache.join("closedpaw/models/qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf")
    };
    let path = std::env::var_os("CLOSEDPAW_WEIGHTS").map_or_else(kept, PathBuf::from);
    assert!(path.exists(), "no weights at {}; get them: closedpawctl model fetch", path.display());
    path
}

fn program(weights: &Path, socket: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_closedpaw-model"));
    program.arg("--weights").arg(weights).arg("--socket").arg(socket);
    program
}

/// A running model. One at a time: two at once measure each other.
struct Model {
    child: Child,
    socket: PathBuf,
    _folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Model {
    fn start(arguments: &[&str]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("own/model.sock");
        let child = program(&weights(), &socket).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let model = Self { child, socket, _folder: folder, _alone: alone };
        let begun = Instant::now();
        while UnixStream::connect(&model.socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not listen");
            sleep(Duration::from_millis(1));
        }
        model
    }

    fn send(&self, method: &str, path: &str, body: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: m\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .unwrap();
        stream
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(method, path, body).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, if head.contains("chunked") { unchunked(body) } else { body.to_owned() })
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn complete(&self, request: &Value) -> (u16, Value) {
        let (status, body) = self.ask("POST", "/v1/chat/completions", &request.to_string());
        (status, serde_json::from_str(&body).unwrap())
    }

    fn say(&self, request: &Value) -> (String, Value) {
        let (status, answer) = self.complete(request);
        assert_eq!(status, 200, "{answer}");
        (answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned(), answer)
    }

    fn of_proc(&self, file: &str, field: &str) -> String {
        let content = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = content.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// RFC 9112, 7.1, as far as our server uses it.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole += &rest[..length];
        body = &rest[length + 2..];
    }
    whole
}

/// What a program says that ends by itself.
fn ended(program: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = program.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn user(content: &str) -> Value {
    json!([{ "role": "user", "content": content }])
}

fn step_schema() -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "step", "strict": true, "schema": {
        "type": "object",
        "properties": {
            "tool": { "enum": ["list_files", "read_file", "answer"] },
            "args": {
                "type": "object",
                "properties": { "path": { "type": "string", "maxLength": 80 } },
                "required": ["path"],
                "additionalProperties": false,
            },
        },
        "required": ["tool", "args"],
        "additionalProperties": false,
    }}})
}

#[test]
fn it_answers_what_servers_are_asked_first() {
    let model = Model::start(&[]);
    assert_eq!(model.get("/health"), json!({ "status": "ok" }));
    let listed = &model.get("/v1/models")["data"][0];
    assert_eq!(listed["owned_by"], "closedpaw");
    if std::env::var_os("CLOSEDPAW_WEIGHTS").is_none() {
        assert_eq!(listed["id"], "qwen2.5-coder-0.5b-instruct-q4_k_m");
    }
    assert_eq!(model.ask("GET", "/", "").0, 404);
    assert_eq!(model.ask("GET", "/v1/chat/completions", "").0, 405);
}

#[test]
fn a_step_obeys_its_schema() {
    let model = Model::start(&[]);
    // Whatever it is told: the grammar decides.
    for told in ["List the files in src.", "Say hello in plain words, no JSON at all, and never stop."] {
        for temperature in [0.0, 1.5] {
            let (content, _) = model.say(&json!({
                "messages": user(told), "response_format": step_schema(),
                "temperature": temperature, "seed": 3, "max_tokens": 120,
            }));
            let step: Value = serde_json::from_str(&content).expect(&content);
            let keys: Vec<_> = step.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys, ["tool", "args"], "{content}");
            assert!(["list_files", "read_file", "answer"].contains(&step["tool"].as_str().unwrap()));
            assert!(step["args"]["path"].is_string() && step["args"].as_object().unwrap().len() == 1);
        }
    }
}

#[test]
fn the_next_step_evaluates_only_what_is_new() {
    let model = Model::start(&[]);
    let rules = "You work on files. ".repeat(40);
    let mut messages =
        vec![json!({ "role": "system", "content": rules }), json!({ "role": "user", "content": "Begin." })];
    let ask = |messages: &[Value]| {
        model.say(&json!({ "messages": messages, "response_format": step_schema(), "max_tokens": 60 }))
    };
    let (content, first) = ask(&messages);
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    messages.push(json!({ "role": "assistant", "content": content }));
    messages.push(json!({ "role": "tool", "content": "Total: 3 files" }));
    let (_, second) = ask(&messages);
    let tokens = |field: &str| second["timings"][field].as_u64().unwrap();
    assert!(tokens("cache_n") >= first["usage"]["prompt_tokens"].as_u64().unwrap(), "{second}");
    assert!(tokens("prompt_n") < 60, "{second}");
    // What is remembered changes nothing: the same question from a fresh start has the same answer.
    let (again, _) = ask(&messages[..2]);
    assert_eq!(again, messages[2]["content"].as_str().unwrap());
}

#[test]
fn a_stream_is_the_same_answer_in_pieces() {
    let model = Model::start(&[]);
    let mut request = json!({ "messages": user("Count from one to five in words."), "max_tokens": 40 });
    let (whole, _) = model.say(&request);
    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let (status, stream) = model.ask("POST", "/v1/chat/completions", &request.to_string());
    assert_eq!(status, 200);
    let events: Vec<&str> =
        stream.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
    let (last, events) = events.split_last().unwrap();
    assert_eq!(*last, "[DONE]");
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text =
        |event: &Value| event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(events.iter().map(text).collect::<String>(), whole);
    assert!(events.len() > 5, "it comes in pieces");
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(events[events.len() - 1]["usage"]["completion_tokens"].as_u64().unwrap() > 3);
}

#[test]
fn an_answer_ends_where_it_was_told_to() {
    let model = Model::start(&[]);
    let request = json!({ "messages": user("Count from 1 to 9, separated by commas.") });
    let with = |field: &str, value: Value| {
        let mut request = request.clone();
        request[field] = value;
        model.say(&request)
    };
    let (content, answer) = with("stop", json!(["4"]));
    assert!(content.contains('3') && !content.contains('4'), "{content}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (_, answer) = with("max_tokens", json!(3));
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[test]
fn what_it_cannot_do_is_refused_by_code() {
    let model = Model::start(&["--context", "512"]);
    let code = |request: &Value| {
        let (status, answer) = model.complete(request);
        (status, answer["error"]["code"].as_str().unwrap().to_owned())
    };
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    assert_eq!(code(&json!({ "messages": user("x"), "tools": tools })), (400, "tools_unsupported".into()));
    let long = user(&"many words ".repeat(600));
    assert_eq!(code(&json!({ "messages": long })), (400, "context_length_exceeded".into()));
    let pattern = json!({ "type": "json_schema", "json_schema": { "schema": { "type": "no such type" } } });
    assert_eq!(
        code(&json!({ "messages": user("x"), "response_format": pattern })),
        (400, "schema_unsupported".into())
    );
    let looping = json!({ "type": "json_schema", "json_schema": { "schema": {
        "allOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "$ref": "#/$defs/a" } },
    }}});
    assert_eq!(
        code(&json!({ "messages": user("x"), "response_format": looping })),
        (400, "schema_unsupported".into())
    );
    let (status, _) = model.ask("POST", "/v1/chat/completions", &"x".repeat((4 << 20) + 1));
    assert_eq!(status, 413);
    // And it is none the worse for it; an answer ends with the context.
    let (_, answer) =
        model.say(&json!({ "messages": user("Count to 900, one number a line."), "temperature": 0 }));
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() <= 513, "{answer}");
}

#[test]
fn a_client_that_leaves_stops_the_model() {
    let model = Model::start(&[]);
    for stream in [true, false] {
        let long =
            json!({ "messages": user("Write a very long story."), "stream": stream, "max_tokens": 4000 });
        let mut connection = model.send("POST", "/v1/chat/completions", &long.to_string());
        if stream {
            let mut lines = BufReader::new(&mut connection).lines().map(Result::unwrap);
            lines.find(|line| line.contains("\"content\":\"") && !line.contains("role")).unwrap();
        } else {
            sleep(Duration::from_millis(500));
        }
        drop(connection);
        // The next is answered at once, and soon nothing is computed any more.
        let begun = Instant::now();
        model.say(&json!({ "messages": user("Hi"), "max_tokens": 1 }));
        assert!(begun.elapsed() < Duration::from_secs(10), "stream {stream}: {:?}", begun.elapsed());
        let before = processor_time(&model);
        sleep(Duration::from_millis(500));
        assert!(processor_time(&model) - before <= 2, "stream {stream}: it still computes");
    }
}

/// In hundredths of a second: proc_pid_stat(5), fields 14 and 15.
fn processor_time(model: &Model) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", model.child.id())).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn more_than_can_wait_is_refused_and_nobody_is_forgotten() {
    let model = Model::start(&[]);
    let long = json!({ "messages": user("Write a very long story."), "max_tokens": 400, "stream": true });
    let first = model.send("POST", "/v1/chat/completions", &long.to_string());
    let mut first = BufReader::new(first).lines().map(Result::unwrap);
    first.find(|line| line.contains("content")).unwrap();
    let short = json!({ "messages": user("Hi"), "max_tokens": 1 }).to_string();
    let mut waiting: Vec<_> = (0..12).map(|_| model.send("POST", "/v1/chat/completions", &short)).collect();
    sleep(Duration::from_millis(300));
    drop(first);
    let status = |connection: &mut UnixStream| {
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let answers: Vec<_> = waiting.iter_mut().map(status).collect();
    assert_eq!(answers.iter().filter(|status| *status == "200").count(), 8, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| *status == "503").count(), 4, "{answers:?}");
}

#[test]
fn its_confinement_holds_in_every_thread() {
    let model = Model::start(&[]);
    model.say(&json!({ "messages": user("Hi"), "max_tokens": 2 }));
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", model.child.id())).unwrap().collect();
    assert!(threads.len() >= 2, "the engine has its own");
    for thread in threads {
        let id = thread.unwrap().file_name().into_string().unwrap();
        assert_eq!(model.of_proc(&format!("task/{id}/status"), "Seccomp:"), "2");
        assert_eq!(model.of_proc(&format!("task/{id}/status"), "NoNewPrivs:"), "1");
    }
    // Beyond the three it was started with: the socket and what tokio waits on, no file.
    for entry in fs::read_dir(format!("/proc/{}/fd", model.child.id())).unwrap().map(Result::unwrap) {
        let standard = ["0", "1", "2"].iter().any(|number| entry.file_name() == *number);
        let target = fs::read_link(entry.path()).unwrap_or_default().to_string_lossy().into_owned();
        // The pipe is where stderr led.
        let known = ["socket:", "anon_inode:", "pipe:"].iter().any(|kind| target.starts_with(kind));
        assert!(standard || target.is_empty() || known, "{target} is open");
    }
}

#[test]
fn other_weights_are_told_before_they_are_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let (other, socket) = (folder.path().join("other.gguf"), folder.path().join("own/s"));
    fs::write(&other, b"GGUF and then nothing that any parser would survive").unwrap();
    let (code, said) = ended(&mut program(&other, &socket));
    assert_eq!(code, 65, "{said}");
    for telling in ["weights-digest", "other.gguf", "expected e910cab26ae116eb", "found "] {
        assert!(said.contains(telling), "{telling} is missing in: {said}");
    }
    // With its own digest the same file is parsed, and only then is it no model.
    let digest = said.split("found ").nth(1).unwrap()[..64].to_owned();
    let (code, said) = ended(program(&other, &socket).args(["--blake3", &digest]));
    assert_eq!(code, 70, "{said}");
}

#[test]
fn missing_weights_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = ended(&mut program(&folder.path().join("none"), &folder.path().join("own/s")));
    assert_eq!(code, 66, "{said}");
    assert!(said.contains("weights-missing") && said.contains("closedpawctl model fetch"), "{said}");
}

#[test]
fn a_folder_of_others_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (code, said) = ended(&mut program(&weights(), &open.join("s")));
    assert_eq!(code, 77, "{said}");
}

#[test]
fn it_ends_when_nothing_is_asked() {
    let mut model = Model::start(&["--idle-seconds", "1"]);
    model.get("/health");
    let begun = Instant::now();
    assert!(model.child.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut said = String::new();
    model.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("Landlock") && said.contains("seccomp"), "{said}");
}

#[test]
fn what_a_schema_holds_never_reaches_the_terminal() {
    let mut model = Model::start(&[]);
    // A pattern that llama.cpp does not know, and says so.
    let pattern = json!({ "type": "json_schema", "json_schema": { "schema": {
        "type": "string", "pattern": "((\u{1b}[2J" } } });
    model.complete(&json!({ "messages": user("x"), "response_format": pattern, "max_tokens": 2 }));
    model.child.kill().unwrap();
    let mut said = String::new();
    model.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("Landlock"));
    assert_eq!(said.lines().count(), 1, "{said:?}");
}

#[test]
fn an_inherited_socket_is_answered_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // The shell gives the descriptor its number; ours are closed on exec.
    let mut child = Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" --listen-fd 3 3<&0 </dev/null"])
        .arg(env!("CARGO_BIN_EXE_closedpaw-model"))
        .arg("--weights")
        .arg(weights())
        .stdin(std::os::fd::OwnedFd::from(listener))
        .spawn()
        .unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
