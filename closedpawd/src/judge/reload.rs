//! Taking up a changed policy: all of it or none, at a signal or when a folder changes.
#![forbid(unsafe_code)]

use super::keys::Keys;
use super::policy::InForce;
use super::state::State;
use crate::paths::Paths;
use crate::pulse::Pulse;
use closedpaw_ledger::record::{Entry, Policy as PolicyRecord};
use closedpaw_protocol::message::Event;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long a folder must be quiet: an editor's save is several changes.
const QUIET: Duration = Duration::from_millis(100);

/// What says that files may have changed.
pub(super) struct Reload {
    wanted: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Reload {
    /// Watches the folders, not the files: editors replace files.
    pub(super) fn watch(paths: &Paths) -> io::Result<Self> {
        let (tell, changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One waiting notice is as good as many.
                let _ = tell.try_send(());
            }
        })
        .map_err(io::Error::other)?;
        for folder in ["policy.d", "profiles.d", "keys.d"] {
            watcher
                .watch(&paths.etc().join(folder), RecursiveMode::NonRecursive)
                .map_err(io::Error::other)?;
        }
        let (want, wanted) = mpsc::channel(1);
        tokio::task::spawn_local(notice(signal(SignalKind::hangup())?, changes, want));
        Ok(Self { wanted, _watcher: watcher })
    }

    /// Ends when a reload is due. Cancel-safe: a notice waits until it is taken.
    pub(super) async fn wanted(&mut self) {
        if self.wanted.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Wants a reload at SIGHUP, or when something changed and has been quiet since.
async fn notice(mut hangup: Signal, mut changes: mpsc::Receiver<()>, want: mpsc::Sender<()>) {
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            changed = changes.recv() => {
                if changed.is_none() {
                    return;
                }
                while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
            }
        }
        // One that already waits is as good as many.
        let _ = want.try_send(());
    }
}

/// Loads keys and policy again. A policy with an error changes nothing and is reported.
pub(super) fn reload(state: &Rc<State>) -> Pulse {
    let (keys, problems) = Keys::load(&state.paths.etc().join("keys.d"));
    problems.iter().for_each(|problem| tracing::error!("keys: {problem}"));
    state.keys.replace(keys);
    let before = state.policy();
    match InForce::load(&state.paths.etc()) {
        Ok(policy) => {
            state.policy_error.replace(None);
            if policy.revision != before.revision {
                take_up(state, policy);
            }
            Pulse::Ready
        }
        Err(problems) => {
            let error = problems.join("\n");
            tracing::error!("the policy in force stays, because the new one has errors:\n{error}");
            note(state, before.revision.0, &before, Some(error.clone()));
            state.policy_error.replace(Some(error));
            Pulse::Kept
        }
    }
}

/// With another policy no answer given under the old one counts any more.
fn take_up(state: &Rc<State>, policy: InForce) {
    policy.warnings.iter().for_each(|warning| tracing::warn!("policy: {warning}"));
    tracing::info!("policy {} is in force: {} rules", policy.revision.short(), policy.policy.len());
    let revision = policy.revision;
    note(state, revision.0, &policy, None);
    state.policy.replace(Rc::new(policy));
    let forgotten = state.questions.borrow_mut().forget(None);
    state.watchers.tell_all(&Event::Policy { revision });
    state.tell_undecided(forgotten);
}

fn note(state: &State, digest: [u8; 32], policy: &InForce, refused: Option<String>) {
    let record = PolicyRecord { revision: policy.revision.short(), digest, files: policy.files, refused };
    state.audit.note(PolicyRecord::KIND, record.fields());
}
