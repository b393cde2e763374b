//! Starts a sandbox without a kernel of its own.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpaw_sandbox::process::main()
}
