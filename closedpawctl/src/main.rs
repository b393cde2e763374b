//! `closedpawctl`: the person's side.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpawctl::cli::main()
}
