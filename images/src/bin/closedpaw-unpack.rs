//! `closedpaw-unpack`: started by `closedpawd image add`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    closedpaw_images::worker::main()
}
