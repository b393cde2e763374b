//! Process 1 of every sandbox.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpaw_sandbox::init::main()
}
