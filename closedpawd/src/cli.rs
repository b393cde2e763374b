//! The daemon's command line.
#![forbid(unsafe_code)]

use crate::launcher::Pinned;
use crate::paths::Paths;
use crate::{check, images, judge, launcher, upkeep};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The ClosedPaw daemon: decides by policy, has a person approve, runs in a sandbox, and keeps the log.
#[derive(Debug, Parser)]
#[command(
    name = "closedpawd",
    version,
    after_help = "Example:\n  closedpawd pin && systemctl enable --now closedpawd\n  closedpawd --root /opt/closedpaw check"
)]
struct Arguments {
    /// Put /etc, /run and /var under this folder, which must be root's all the way up.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    #[command(subcommand)]
    command: Option<Word>,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Check policy, profiles, keys, runtime and kernel without starting anything.
    Check,
    /// Pin the sandbox runtime as it is now, so that another one is refused.
    #[command(
        after_help = "Example:\n  closedpawd pin\n  closedpawd pin --kata /opt/kata/bin/containerd-shim-kata-v2"
    )]
    Pin {
        /// The shim of Kata Containers, for the tier `kata`; gVisor's runsc if this is not said.
        #[arg(long)]
        kata: bool,
        /// The runtime's program; where packages put it if none is named.
        runtime: Option<PathBuf>,
    },
    /// Check the log, publish its newest signed head, and name what has to be done soon. A timer runs it.
    #[command(after_help = "Example:\n  closedpawd upkeep | tee -a /mnt/elsewhere/closedpaw-heads")]
    Upkeep,
    /// Keep images: root filesystems for sandboxes that are not to see the host's /usr.
    #[command(
        after_help = "Example:\n  closedpawd image add debian.tar --name debian:13 && closedpawd image list"
    )]
    Image {
        #[command(subcommand)]
        word: images::Word,
    },
    /// Started by the launcher.
    #[command(hide = true)]
    Judge,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let judge = matches!(arguments.command, Some(Word::Judge));
    journal(judge);
    let paths = match Paths::under(&arguments.root) {
        Ok(paths) => paths,
        Err(error) => {
            tracing::error!("--root: {error}");
            return ExitCode::from(78);
        }
    };
    match arguments.command {
        None => launcher::run(&paths),
        Some(Word::Judge) => judge::run(&paths),
        Some(Word::Upkeep) => upkeep::run(&paths),
        Some(Word::Check) => check::run(&paths),
        Some(Word::Image { word }) => images::run(&paths, &word),
        Some(Word::Pin { kata, runtime }) => pin(&paths, kata, runtime),
    }
}

fn pin(paths: &Paths, kata: bool, runtime: Option<PathBuf>) -> ExitCode {
    let (what, usual) = match kata {
        true => (Pinned::Kata, launcher::shim_of_kata()),
        false => (Pinned::Gvisor, PathBuf::from("/usr/bin/runsc")),
    };
    match launcher::write_pin(what, paths, &runtime.unwrap_or(usual)) {
        Ok(pin) => {
            tracing::info!("pinned {pin}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(69)
        }
    }
}

/// Log lines go to standard error, which under systemd is the journal.
fn journal(judge: bool) {
    let subscriber =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    let subscriber = if std::env::var_os("JOURNAL_STREAM").is_some() || judge {
        // The judge has no clock that anybody set for it; the journal stamps its lines.
        tracing::subscriber::set_global_default(subscriber.without_time().finish())
    } else {
        tracing::subscriber::set_global_default(subscriber.finish())
    };
    // Only ever called once.
    drop(subscriber);
}
