//! `closedpawd`: the launcher, and with a hidden word the judge it starts.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpawd::cli::main()
}
