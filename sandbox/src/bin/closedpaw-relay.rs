//! Moves bytes between the descriptors it was handed and one sandbox's channel.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpaw_sandbox::relay::main()
}
