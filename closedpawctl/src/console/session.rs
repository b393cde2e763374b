//! Opening a session: what the person's key signs, and the folder's descriptor.
#![forbid(unsafe_code)]

use super::events::{Events, watch_on};
use super::finish::{self, Wrote};
use super::fork::{Begun, Work};
use crate::client::{Connection, Daemon, Pinned, Unanswered};
use crate::failure::Failure;
use crate::link::Seat;
use crate::{keys, places};
use closedpaw_protocol::message::{Event, Opening, Reply, Request};
use closedpaw_protocol::{KeyId, Label, SandboxId, SessionId, Tier};
use ed25519_dalek::SigningKey;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a session stays open by itself, in seconds.
const OPEN: u64 = 12 * 3600;

/// How long a daemon that was restarted may be away. Under systemd the socket stays, and who connects waits.
const BACK: Duration = Duration::from_secs(5);

/// Before the first try. Whoever connects to the socket that stays has systemd start the daemon: at once, that would get in the
/// way of an administrator who stops it, and its sandboxes with it.
const MOMENT: Duration = Duration::from_secs(2);

/// Between two tries to connect to it.
const PAUSE: Duration = Duration::from_millis(100);

/// What the person chose for a session.
#[derive(Debug, Clone, clap::Args)]
pub struct Choice {
    /// The folder to work on; writes go to a layer, and to the folder only with `apply`.
    #[arg(long, short = 'w', value_name = "DIR", default_value = ".")]
    pub workspace: PathBuf,
    /// Begin with what another session wrote, open or kept: all of its staged work, on the same folder. Each goes on by itself.
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["workspace", "no_workspace"])]
    pub from: Option<String>,
    /// No folder at all.
    #[arg(long, conflicts_with = "workspace")]
    pub no_workspace: bool,
    /// You vouch for what the folder contains: nobody else's text is in it.
    #[arg(long)]
    pub trust: bool,
    /// The sandbox profile.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub profile: String,
    /// The isolation that the profile must have: kata, gvisor or process. Another one is refused, never taken instead.
    #[arg(long, default_value = "gvisor", value_name = "TIER", value_parser = tier)]
    pub isolation: Tier,
}

fn tier(text: &str) -> Result<Tier, String> {
    let tiers = [Tier::Kata, Tier::Gvisor, Tier::Process];
    tiers.into_iter().find(|tier| tier.name() == text).ok_or_else(|| "kata, gvisor or process".to_owned())
}

/// The person's side of the daemon: who it is, which key speaks.
pub struct Person {
    /// Where the daemon is.
    pub daemon: Daemon,
    /// Its pinned key.
    pub pinned: Pinned,
    key: SigningKey,
}

impl Person {
    /// With the person's own key.
    pub fn of(daemon: &Daemon) -> Result<Self, Failure> {
        Ok(Self { daemon: daemon.clone(), pinned: daemon.pinned()?, key: keys::load()? })
    }

    /// A connection on which the person's key speaks.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        Connection::begin(self.daemon.dial()?, &self.pinned, self.key.clone()).await
    }
}

/// An open session as the console holds it.
pub struct Session {
    /// What the agent is told.
    pub seat: Seat,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// The folder, where there is one.
    pub workspace: Option<(PathBuf, OwnedFd)>,
    /// The limits this host cannot give.
    pub missing: Vec<String>,
    /// Whose staged work it began with, and how many paths that were.
    pub from: Option<(SessionId, usize)>,
}

/// Opens a session for an agent's key, on the person's connection. It ends with that connection. Where it begins with
/// another session's work, it has all of that.
pub async fn open(
    connection: &mut Connection,
    person: &Person,
    choice: &Choice,
    agent: KeyId,
) -> Result<Session, Failure> {
    let begun = match &choice.from {
        Some(name) => Some(Begun::find(connection, name).await?),
        None => None,
    };
    let wanted = begun.as_ref().map_or(choice.workspace.as_path(), Begun::workspace);
    let workspace = if choice.no_workspace { None } else { Some(folder(wanted)?) };
    let work = match (begun, &workspace) {
        (Some(begun), Some((_, folder))) => Some(begun.compare(connection, folder).await?),
        (Some(_) | None, _) => None,
    };
    let label = work.as_ref().map(Work::label).unwrap_or_default();
    let mut session = bare(connection, person, choice, (workspace, label, agent)).await?;
    if let Some(work) = work {
        if let Err(failure) = work.carry_over(connection, session.seat.session).await {
            finish::close(connection, &session, Wrote::Nothing).await;
            return Err(failure);
        }
        session.from = Some((work.session(), work.count()));
    }
    Ok(session)
}

/// One whose layer is empty.
async fn bare(
    connection: &mut Connection,
    person: &Person,
    choice: &Choice,
    (workspace, label, agent): (Option<(PathBuf, OwnedFd)>, Label, KeyId),
) -> Result<Session, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let opening = Opening {
        agent,
        workspace: workspace.as_ref().map(|(path, _)| path.display().to_string()),
        trusted: choice.trust,
        label,
        profile: choice.profile.clone(),
        isolation: choice.isolation,
        expires: now + OPEN,
    };
    let with: Vec<_> = workspace.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
    let (reply, _) = connection.open(&opening, &with).await?;
    let Reply::Opened { session, sandbox, revision, missing, .. } = reply else {
        return Err(Failure::lost("another answer than to an opening"));
    };
    let Opening { profile, isolation, .. } = opening;
    let seat = Seat { session, revision, profile, isolation, daemon: person.pinned.key };
    Ok(Session { seat, sandbox, workspace, missing, from: None })
}

/// Connects again after the daemon has gone, and is the session's console again if it is still there. One that is not ends
/// what runs in it by itself.
pub async fn rejoin(person: &Person, session: SessionId) -> Result<(Connection, Events), Failure> {
    patiently(|| async {
        let mut control = person.connect().await?;
        // In this order, what is asked in between is heard of twice, and not never.
        let (tell, events) = watch_on(person).await?;
        match control.request(&Request::Resume { session }, &[]).await {
            Ok(_) | Err(Unanswered::Refused(_)) => {}
            Err(unanswered) => return Err(unanswered.into()),
        }
        if let (Reply::Questions(questions), _) = control.request(&Request::Questions, &[]).await? {
            for question in questions {
                // Who hears of it is whoever is returned to.
                if let Some(tell) = tell.upgrade() {
                    let _ = tell.send(Event::Asked(Box::new(question)));
                }
            }
        }
        Ok((control, Events::new(events)))
    })
    .await
}

/// Tries again while the daemon may be restarting. Where somebody else answers, or the key counts no more, another try changes
/// nothing.
pub async fn patiently<T, A>(mut attempt: impl FnMut() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    tokio::time::sleep(MOMENT).await;
    let until = Instant::now() + BACK;
    loop {
        match attempt().await {
            Err(failure) if failure.may_pass() && Instant::now() < until => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// The connection if the daemon has not hung up, else another one if there is one to be had.
pub async fn still(connection: Connection, person: &Person, session: SessionId) -> Connection {
    if !connection.is_lost() {
        return connection;
    }
    match rejoin(person, session).await {
        Ok((again, _)) => again,
        Err(_) => connection,
    }
}

/// The folder, opened; never one that holds the client's own keys.
fn folder(path: &Path) -> Result<(PathBuf, OwnedFd), Failure> {
    let path = path.canonicalize().map_err(|error| {
        Failure::new(
            "workspace-missing",
            66,
            format!("{}: {error}", path.display()),
            "name an existing folder: --workspace DIR",
        )
    })?;
    if places::config().starts_with(&path) || path.starts_with(places::config()) {
        return Err(closedpaw_protocol::Refusal::because(
            closedpaw_protocol::ErrorCode::WorkspaceForbidden,
            format!("{} holds your keys", path.display()),
        )
        .into());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor =
        rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| Failure::file(&path, error))?;
    Ok((path, descriptor))
}
