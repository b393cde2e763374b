//! The command line, and the program on one screen.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::num::{NonZeroU16, NonZeroU32};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::unistd::getuid;

use crate::confine::confine;
use crate::engine::{Engine, Settings};
use crate::error::Error;
use crate::server::{self, Served};
use crate::weights::{DEFAULT_PIN, Opened, Verified};
use crate::{socket, sys};

const EXAMPLE: &str = "\
Example:
  closedpaw-model --socket $XDG_RUNTIME_DIR/closedpaw/model.sock \\
      --weights ~/.cache/closedpaw/models/qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf
  curl --unix-socket $XDG_RUNTIME_DIR/closedpaw/model.sock http://model/v1/chat/completions \\
      -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'

Exit codes: 0 nothing was asked for --idle-seconds, 2 command line, 65 weights are not the pinned ones,
66 no weights, 69 this kernel cannot confine it, 70 weights cannot be loaded, 71 no thread or memory,
73 socket, 77 the socket's folder is not yours alone.";

/// The embedded default model: confined, without a network, answering the OpenAI chat format on one Unix socket.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
struct Typed {
    /// The weights, a GGUF file of a ChatML model
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// BLAKE3 of the weights; nothing is parsed unless it is this one
    #[arg(long, value_name = "HEX", default_value = DEFAULT_PIN, value_parser = digest)]
    blake3: String,
    /// The socket to make, in a folder of your own with mode 0700
    #[arg(long, value_name = "PATH", required_unless_present = "listen_fd")]
    socket: Option<PathBuf>,
    /// A listening Unix socket that this process was started with
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    listen_fd: Option<RawFd>,
    /// End when there was no request for so long
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    idle_seconds: NonZeroU32,
    /// Threads for the arithmetic [default: all processors to read, half of them to write]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU16>,
    /// Tokens of conversation and answer together
    #[arg(long, value_name = "TOKENS", default_value = "8192", value_parser = clap::value_parser!(u32).range(512..=32768))]
    context: u32,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Typed::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The order is the point: everything that needs rights, then confinement, then the first byte read.
fn run(typed: &Typed) -> Result<(), Error> {
    sys::close_inherited(typed.listen_fd).map_err(Error::Start)?;
    silence_the_library().map_err(Error::Start)?;
    warn_of_missing_instructions();
    let listener = listener(typed)?;
    let (settings, owner) = (settings(typed), getuid());
    let confined = confine(Opened::new(&typed.weights)?)?;

    let begun = Instant::now();
    let verified = Verified::new(confined, &typed.blake3)?;
    let digest = begun.elapsed();
    let model = verified.model_id();
    let queue = Engine::load(&verified, settings)?.start().map_err(Error::Start)?;
    say(&format_args!(
        "{model}: uid {}, no new privileges; Landlock: reads its weights, connects nowhere, signals nobody; \
         seccomp: no socket, no process, no writing to files; answers on {} (digest {} ms, load {} ms)",
        owner,
        name(typed),
        digest.as_millis(),
        (begun.elapsed() - digest).as_millis(),
    ));
    let idle = Duration::from_secs(typed.idle_seconds.get().into());
    server::serve(listener, Served { queue, model, owner, idle }).map_err(Error::Start)
}

fn listener(typed: &Typed) -> Result<UnixListener, Error> {
    let listener = match (typed.listen_fd, &typed.socket) {
        (Some(number), _) => socket::inherit(number)?,
        (None, Some(path)) => socket::bind(path)?,
        (None, None) => return Err(Error::Start(io::Error::from(io::ErrorKind::InvalidInput))),
    };
    let failed = |error| Error::Socket { what: name(typed), error };
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn name(typed: &Typed) -> String {
    match (&typed.socket, typed.listen_fd) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(number)) => format!("descriptor {number}"),
        (None, None) => String::new(),
    }
}

/// Reading a conversation gains from every processor. Writing waits for memory, and its threads wait
/// for each other after every step by spinning: with one fewer than all busy with something else it
/// becomes many times slower, so it takes only half.
fn settings(typed: &Typed) -> Settings {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let count = |default: usize| {
        let count = typed.threads.map_or(default, |threads| threads.get().into());
        i32::try_from(count.max(1)).unwrap_or(1)
    };
    Settings {
        reading: count(processors),
        writing: count(processors / 2),
        context: NonZeroU32::new(typed.context).unwrap_or(NonZeroU32::MIN),
    }
}

/// The arithmetic is compiled for these; without them the first answer ends the program.
#[cfg(target_arch = "x86_64")]
fn warn_of_missing_instructions() {
    let there = [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("F16C", is_x86_feature_detected!("f16c")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
    ];
    for (name, _) in there.iter().filter(|(_, there)| !there) {
        say(&format_args!("this processor has no {name}, which the model is built for: it may end here"));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn warn_of_missing_instructions() {}

fn digest(typed: &str) -> Result<String, String> {
    if typed.len() == 64 && typed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(typed.to_ascii_lowercase())
    } else {
        Err("a BLAKE3 digest is 64 hexadecimal digits".into())
    }
}

/// Where [`say`] writes once [`silence_the_library`] was called.
static STDERR: OnceLock<File> = OnceLock::new();

/// llama.cpp prints what it dislikes in a schema, raw, and a schema may hold what commands a
/// terminal. So stderr proper leads nowhere, and only our own lines go where it led.
fn silence_the_library() -> io::Result<()> {
    let led_to = io::stderr().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stderr(File::options().write(true).open("/dev/null")?)?;
    let _ = STDERR.set(File::from(led_to));
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            say(&format_args!("it ended in an error of its own at {place}"));
        }
    }));
    Ok(())
}

/// The only output there is. Nothing can be done where stderr is closed.
fn say(what: &dyn Display) {
    let line = format!("closedpaw-model: {what}\n");
    let _ = match STDERR.get() {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn typed(arguments: &[&str]) -> Result<Typed, clap::Error> {
        Typed::try_parse_from(["closedpaw-model", "--weights", "w"].iter().chain(arguments))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Typed::command().debug_assert();
    }

    #[test]
    fn there_is_exactly_one_socket() {
        assert!(typed(&[]).is_err());
        assert!(typed(&["--socket", "s", "--listen-fd", "3"]).is_err());
        assert_eq!(typed(&["--listen-fd", "3"]).unwrap().listen_fd, Some(3));
        let defaults = typed(&["--socket", "s"]).unwrap();
        assert_eq!((defaults.blake3.as_str(), defaults.context), (DEFAULT_PIN, 8192));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        assert!(typed(&["--socket", "s", "--blake3", "e910"]).is_err());
        assert!(typed(&["--socket", "s", "--blake3", &"g".repeat(64)]).is_err());
        assert!(typed(&["--socket", "s", "--blake3", &"A".repeat(64)]).is_ok());
    }

    #[test]
    fn numbers_without_sense_are_refused() {
        for (option, value) in [("--idle-seconds", "0"), ("--threads", "0"), ("--context", "511")] {
            assert!(typed(&["--socket", "s", option, value]).is_err(), "{option}");
        }
    }
}
