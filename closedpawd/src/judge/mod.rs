//! The judge: uid `closedpaw`, no capability, four folders, one socket. It decides and remembers; it runs nothing.
#![deny(unsafe_code)]

pub mod approved;
mod audit;
mod authenticated;
mod authorised;
mod clock;
mod confine;
mod connection;
mod desk;
mod execute;
pub(crate) mod files;
mod halts;
pub(crate) mod headfile;
mod keys;
mod launcher;
mod memory;
pub mod pipeline;
pub(crate) mod policy;
mod pool;
mod questions;
mod received;
pub mod recorded;
mod reload;
mod restart;
mod sandboxes;
mod saved;
mod sessions;
mod staged;
mod state;
mod watchers;

use crate::paths::Paths;
use crate::pulse::Pulse;
pub(crate) use audit::log_path as audit_log;
pub(crate) use confine::confine;

use audit::Audit;
use closedpaw_descriptors::handover::take_over;
use closedpaw_ledger::record::{Answer, Answered, Entry, Started, Stopped};
use closedpaw_protocol::{ErrorCode, Tier};
use ed25519_dalek::SigningKey;
use headfile::HeadFile;
use keys::Keys;
use launcher::Launcher;
use policy::InForce;
use pool::Pressure;
use restart::Left;
use state::{State, Tiers};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// How often questions, sessions and counted refusals are looked at for having run out.
const TICK: Duration = Duration::from_secs(1);

/// How many of these looks are between two words to the launcher that the loop still turns.
const BEAT: u64 = 5;

/// Reads everything, confines itself, and serves.
pub fn run(paths: &Paths) -> ExitCode {
    match prepare(paths).and_then(|prepared| serve(paths, prepared)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("judge: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Prepared {
    key: SigningKey,
    policy: InForce,
    launcher: OwnedFd,
    listener: OwnedFd,
    pulse: OwnedFd,
    boot: String,
    left: Vec<Left>,
    tiers: Tiers,
    pressure: Pressure,
}

fn prepare(paths: &Paths) -> io::Result<Prepared> {
    let [launcher, listener, pulse, key] = [take_over(3)?, take_over(4)?, take_over(5)?, take_over(6)?];
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let tiers = [Tier::Process, Tier::Kata].map(|tier| (tier, crate::launcher::found(tier, paths)));
    let pressure = Pressure::find();
    // Closed to everybody else, whatever is made.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    confine::confine(paths).map_err(io::Error::other)?;
    let key = daemon_key(key)?;
    let policy = InForce::load(&paths.etc()).map_err(|problems| {
        problems.iter().for_each(|problem| tracing::error!("policy: {problem}"));
        io::Error::other("the policy has errors; closedpawd check shows them")
    })?;
    policy.warnings.iter().for_each(|warning| tracing::warn!("policy: {warning}"));
    let left = restart::left(&launcher)?;
    Ok(Prepared { key, policy, launcher, listener, pulse, boot, left, tiers: tiers.into(), pressure })
}

fn daemon_key(file: OwnedFd) -> io::Result<SigningKey> {
    let mut seed = [0; 32];
    let mut text = String::new();
    // A little more than what is right, so that what is longer is found wrong.
    fs::File::from(file).take(128).read_to_string(&mut text)?;
    hex::decode_to_slice(text.trim(), &mut seed).map_err(io::Error::other)?;
    Ok(SigningKey::from_bytes(&seed))
}

fn serve(paths: &Paths, prepared: Prepared) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let Prepared { key, policy, launcher, listener, pulse, boot, left, tiers, pressure } = prepared;
        let (audit, opened) = Audit::open(&paths.audit(), key.clone())?;
        let launcher = Launcher::new(launcher)?;
        let (keys, problems) = Keys::load(&paths.etc().join("keys.d"));
        problems.iter().for_each(|problem| tracing::error!("keys: {problem}"));
        note_start(&audit, &policy, &boot);
        tracing::info!(
            "judge: uid {}, no capability, {} system calls, reads {}, writes {} and {}; {} rules, policy {}",
            nix::unistd::getuid(),
            confine::CALLS.count(),
            paths.etc().display(),
            paths.state().display(),
            paths.audit().display(),
            policy.policy.len(),
            policy.revision.short(),
        );
        let state = State::new(paths.clone(), key, policy, keys, audit, launcher, (tiers, pressure));
        restart::take_back(&state, left, &opened);
        let listener = StdListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let pulse = fs::File::from(pulse);
        say(&pulse, Pulse::Ready);
        let mut heads = HeadFile::open(&headfile::newest(&state.paths))?;
        let reason = until_over(&state, &listener, &pulse, &mut heads).await?;
        let stopped = state.audit.durable(Stopped { reason: reason.to_owned() }).await;
        write_head(&state, &mut heads);
        stopped.map(drop).map_err(io::Error::other)
    })
}

fn note_start(audit: &Audit, policy: &InForce, boot: &str) {
    let started = Started {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: boot.trim().to_owned(),
        policy: policy.revision.0,
    };
    audit.note(Started::KIND, started.fields());
}

/// Accepts, reloads, ticks; ends when the launcher goes or says so.
async fn until_over(
    state: &Rc<State>,
    listener: &UnixListener,
    pulse: &fs::File,
    heads: &mut HeadFile,
) -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut reload = reload::Reload::watch(&state.paths)?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0_u64;
    let answers = Rc::clone(&state.launcher);
    let mut answers = std::pin::pin!(answers.listen());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(|(socket, _)| socket.into_std()) {
                Ok(socket) => drop(tokio::task::spawn_local(connection::serve(socket.into(), Rc::clone(state)))),
                // Out of descriptors, most likely: what is open goes on, and a moment later there may be room.
                Err(error) => {
                    tracing::warn!("judge: accept: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            () = &mut answers => return Ok("the launcher has ended"),
            _ = terminate.recv() => return Ok("stopped"),
            () = reload.wanted() => say(pulse, reload::reload(state)),
            _ = tick.tick() => {
                pass_of_time(state);
                ticks += 1;
                if ticks.is_multiple_of(BEAT) {
                    say(pulse, Pulse::Beat);
                    write_head(state, heads);
                }
            }
        }
    }
}

/// Leaves the newest head where `closedpawd upkeep` finds it.
fn write_head(state: &State, heads: &mut HeadFile) {
    if let Err(error) = heads.write(&state.audit.signed_head()) {
        tracing::warn!("judge: {}: {error}", headfile::newest(&state.paths).display());
    }
}

/// Tells the launcher. One that has gone is noticed by its socket.
fn say(mut launcher: &fs::File, pulse: Pulse) {
    if let Err(error) = launcher.write_all(&[pulse.to_byte()]) {
        tracing::warn!("judge: the launcher does not hear: {error}");
    }
}

fn pass_of_time(state: &Rc<State>) {
    let now = clock::seconds();
    let lapsed = state.questions.borrow_mut().lapse(now);
    for question in &lapsed {
        let record = Answered {
            session: question.action.session.0,
            uid: question.uid,
            id: question.id.to_string(),
            digest: question.digest.0,
            answer: Answer::Expired,
            key: None,
        };
        state.audit.note(Answered::KIND, record.fields());
    }
    state.tell_undecided(lapsed);
    let ending = state.sessions.borrow().ending(None, now);
    ending.into_iter().for_each(|session| state.close(session, "its time is over"));
    state.discard_old();
    state.sessions.borrow().all().for_each(|session| session.thin(state));
    state.flush_refusals();
}

/// Random bytes of the kernel's.
fn random<const N: usize>() -> Result<[u8; N], ErrorCode> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| ErrorCode::Internal)?;
    Ok(bytes)
}
