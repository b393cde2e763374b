//! Notifications on the desktop, by the program that every desktop has for it: `notify-send` of libnotify.
#![forbid(unsafe_code)]

use super::manager;
use super::notices::Notice;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program's name.
pub const PROGRAM: &str = "notify-send";

/// A desktop that can be told something.
pub struct Desktop {
    program: PathBuf,
    /// The last one that was started. It may wait for a desktop that does not answer.
    running: Option<Child>,
}

impl Desktop {
    /// It, if the program is in a folder of PATH.
    pub fn find() -> Option<Self> {
        let program = find(&std::env::var_os("PATH")?)?;
        Some(Self { program, running: None })
    }

    /// Shows a notification. That it cannot be shown is no failure: there may be no desktop right now.
    pub fn show(&mut self, notice: Notice) {
        self.end();
        let mut command = Command::new(&self.program);
        command.args(["--app-name=closedpaw", "--"]).args([notice.summary(), notice.body()]);
        command.env_remove(manager::SOCKET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = command.spawn().ok();
    }

    /// One at a time: whatever the last one still waits for, it has had its time.
    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.end();
    }
}

/// In absolute folders only: where PATH says `.` or nothing, it would be a program of the folder that somebody is in.
fn find(path: &OsStr) -> Option<PathBuf> {
    let runs =
        |path: &Path| path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(PROGRAM)).find(|program| runs(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_program_is_looked_for_in_absolute_folders_only() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
        fs::create_dir_all(empty.join(PROGRAM)).unwrap();
        fs::create_dir(&full).unwrap();
        let program = full.join(PROGRAM);
        fs::write(&program, "").unwrap();
        let path = std::env::join_paths([&empty, &full]).unwrap();
        assert_eq!(find(&path), None, "neither a folder nor what cannot be run");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&path), Some(program.clone()));

        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(full.strip_prefix("/").unwrap());
        assert!(relative.join(PROGRAM).is_file(), "{relative:?} is where it is, too");
        assert_eq!(find(relative.as_os_str()), None);
    }
}
