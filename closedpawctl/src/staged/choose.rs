//! Which work is meant, and the two folders it is about.
#![forbid(unsafe_code)]

use crate::client::Connection;
use crate::failure::Failure;
use closedpaw_protocol::message::{Reply, Request, StagedState};
use closedpaw_protocol::{ErrorCode, Refusal, SessionId};
use rustix::fs::{Mode, OFlags, fstat, open};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The real folder, and which one that is.
#[derive(Debug)]
pub struct Workspace {
    /// As the person named it when the session was opened.
    pub path: PathBuf,
    /// The folder itself.
    pub folder: OwnedFd,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl Workspace {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(|error| Failure::file(path, error))?;
        let stat = fstat(&folder).map_err(|error| Failure::file(path, error))?;
        Ok(Self { path: path.to_owned(), folder, device: stat.st_dev, inode: stat.st_ino })
    }

    /// Whether it is that folder.
    pub fn is(&self, device: u64, inode: u64) -> bool {
        (self.device, self.inode) == (device, inode)
    }
}

/// The person's layers: of open sessions, and those that were kept.
pub async fn list(connection: &mut Connection) -> Result<Vec<StagedState>, Failure> {
    let (mut all, mut after): (Vec<StagedState>, _) = (Vec::new(), None);
    loop {
        let (Reply::Staged(more), _) = connection.request(&Request::Staged { after }, &[]).await? else {
            return Err(Failure::lost("another answer than staged work"));
        };
        let Some(last) = more.last() else { return Ok(all) };
        after = Some(last.session);
        all.extend(more);
    }
}

/// The one that is meant: by the beginning of its session's name, or the last one of the folder that this is in.
pub async fn one(connection: &mut Connection, session: Option<&str>) -> Result<StagedState, Failure> {
    let all = list(connection).await?;
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    pick(all, session, &here)
}

fn pick(mut all: Vec<StagedState>, session: Option<&str>, here: &Path) -> Result<StagedState, Failure> {
    if let Some(name) = session {
        let fits = |state: &StagedState| name.len() >= 4 && state.session.to_string().starts_with(name);
        all.retain(fits);
        return match <[StagedState; 1]>::try_from(all) {
            Ok([state]) => Ok(state),
            Err(_) => Err(Refusal::from(ErrorCode::UnknownSession).into()),
        };
    }
    let none = || {
        Failure::new(
            "nothing-staged",
            66,
            "nothing is staged for this folder",
            "closedpawctl staged lists what is; --session names one",
        )
    };
    // What is over first: work goes on in what is open.
    let of_here = all.into_iter().filter(|state| here.starts_with(&state.workspace));
    of_here.max_by_key(|state| (state.ended.is_some(), state.ended, state.since)).ok_or_else(none)
}

/// The workspace as the session saw it.
pub async fn merged(connection: &mut Connection, state: &StagedState) -> Result<OwnedFd, Failure> {
    view(connection, state.session).await
}

/// The workspace as a session sees it.
pub async fn view(connection: &mut Connection, session: SessionId) -> Result<OwnedFd, Failure> {
    let request = Request::Changes { session };
    match connection.request(&request, &[]).await? {
        (Reply::Changes, descriptors) => {
            descriptors.into_iter().next().ok_or_else(|| Failure::lost("no view of the workspace came along"))
        }
        _ => Err(Failure::lost("another answer than a view of the workspace")),
    }
}

/// The paths that are meant, relative to the workspace: as they were typed, from the folder that this is in.
pub fn paths(typed: &[PathBuf], workspace: &Path) -> Result<Vec<String>, Failure> {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    typed.iter().map(|path| relative(path, &here, workspace)).collect()
}

fn relative(typed: &Path, here: &Path, workspace: &Path) -> Result<String, Failure> {
    let outside = || {
        let cause = format!("{} is not in {}", typed.display(), workspace.display());
        Failure::new("path", 64, cause, "name paths in the workspace")
    };
    // What is gone from the folder, or not there yet, cannot be looked up: names alone count.
    let base = if here.starts_with(workspace) { here } else { workspace };
    let mut found = PathBuf::new();
    for part in base.join(typed).components() {
        match part {
            std::path::Component::ParentDir => drop(found.pop()),
            std::path::Component::CurDir => {}
            part => found.push(part),
        }
    }
    let inside = found.strip_prefix(workspace).map_err(|_| outside())?;
    inside.to_str().map(str::to_owned).ok_or_else(outside)
}

/// Whether a path is one of these or in one of them; all are where none is named.
pub fn is_meant(path: &str, meant: &[String]) -> bool {
    let within = |folder: &String| {
        folder.is_empty()
            || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    meant.is_empty() || meant.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use closedpaw_protocol::{Label, Tier};

    fn state(number: u8, workspace: &str, ended: Option<u64>) -> StagedState {
        StagedState {
            session: SessionId([number; 16]),
            workspace: workspace.to_owned(),
            isolation: Tier::Gvisor,
            profile: "default".to_owned(),
            label: Label::default(),
            generation: 1,
            since: u64::from(number),
            ended,
        }
    }

    #[test]
    fn what_is_meant_is_the_last_that_ended_in_this_folder_or_what_is_named() {
        let all = || {
            vec![
                state(1, "/a", Some(10)),
                state(2, "/a", Some(20)),
                state(3, "/a", None),
                state(4, "/ab", Some(30)),
            ]
        };
        let picked =
            |session, here: &str| pick(all(), session, Path::new(here)).map(|state| state.session.0[0]);
        assert_eq!(picked(None, "/a"), Ok(2));
        assert_eq!(picked(None, "/a/deep/er"), Ok(2));
        assert_eq!(picked(None, "/ab"), Ok(4));
        assert_eq!(picked(None, "/").unwrap_err().code, "nothing-staged");
        assert_eq!(picked(Some("0101"), "/"), Ok(1));
        for name in ["", "010", "0505"] {
            assert_eq!(picked(Some(name), "/a").unwrap_err().code, "unknown-session", "{name}");
        }
    }

    #[test]
    fn typed_paths_are_of_the_workspace_or_refused() {
        let of = |typed: &str, here: &str| relative(Path::new(typed), Path::new(here), Path::new("/a/b"));
        for (typed, here, path) in [
            ("x", "/a/b", "x"),
            ("x", "/a/b/c", "c/x"),
            ("../x", "/a/b/c", "x"),
            ("./c/", "/", "c"),
            ("/a/b/x", "/", "x"),
            (".", "/a/b", ""),
        ] {
            assert_eq!(of(typed, here).as_deref(), Ok(path), "{typed}");
        }
        for (typed, here) in [("../../x", "/a/b/c"), ("/etc/passwd", "/a/b"), ("/a/bc", "/a/b")] {
            assert!(of(typed, here).is_err(), "{typed}");
        }
    }

    #[test]
    fn a_folder_means_what_is_in_it() {
        let meant = ["a/b".to_owned()];
        assert!(is_meant("a/b", &meant) && is_meant("a/b/c", &meant));
        assert!(!is_meant("a/bc", &meant) && !is_meant("a", &meant));
        assert!(is_meant("x", &[]) && is_meant("x", &[String::new()]));
    }
}
