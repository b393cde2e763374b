//! `closedpaw-shim`: starts and ends a sandbox by way of a containerd shim v2.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpaw_shim::cli::main()
}
