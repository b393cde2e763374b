//! `closedpaw-model`: the embedded default model, confined, on one Unix socket.

fn main() -> std::process::ExitCode {
    closedpaw_model::cli::main()
}
