//! Which processes there are, from `/proc`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One process: its number and when it began, so that another one of the same number is not taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    id: u32,
    began: String,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it still runs; one that only waits to be reaped does not.
    pub(super) fn lives(&self) -> bool {
        stat(self.id).is_some_and(|now| now.began == self.began && now.state != "Z")
    }
}

struct Stat {
    parent: u32,
    state: String,
    began: String,
}

/// proc_pid_stat(5): after the name in parentheses come state, parent, and as the 22nd field the start time.
fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        state: (*fields.first()?).to_owned(),
        began: (*fields.get(19)?).to_owned(),
    })
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process, theirs, and so on.
pub(super) fn below(id: u32) -> Vec<Process> {
    let known: Vec<(u32, Stat)> = all().into_iter().filter_map(|id| Some((id, stat(id)?))).collect();
    let mut found = vec![];
    let mut parents = vec![id];
    while let Some(parent) = parents.pop() {
        for (id, stat) in known.iter().filter(|(_, stat)| stat.parent == parent) {
            parents.push(*id);
            found.push(Process { id: *id, began: stat.began.clone() });
        }
    }
    found
}

/// The same, with the process itself, by number.
pub fn tree(id: u32) -> Vec<u32> {
    below(id).iter().map(Process::id).chain([id]).collect()
}

/// The processes whose command line names a folder; a runtime's processes name the folder of its state.
pub(super) fn naming(folder: &Path) -> Vec<Process> {
    let name = folder.as_os_str().as_encoded_bytes();
    let names = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.windows(name.len()).any(|part| part == name)
    };
    let found = all().into_iter().filter(names);
    found
        .filter_map(|id| Some(Process { id, began: stat(id).filter(|stat| stat.state != "Z")?.began }))
        .collect()
}

/// The same, by number.
pub fn running_from(folder: &Path) -> Vec<u32> {
    naming(folder).iter().map(Process::id).collect()
}

/// A process's command line, word by word, if it is still there.
pub(super) fn command_line(process: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// A field of a process's status, with its colon: proc_pid_status(5).
pub fn field(process: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

/// How each of a process's threads is scheduled: the 41st field of proc_pid_stat(5), a number of sched(7).
pub fn scheduling(process: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    texts
        .map(|text| text.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned())
        .collect()
}

/// Unmounts whatever a test mounted under a folder.
pub(super) fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    for place in places.filter(|place| place.starts_with(folder)) {
        drop(Command::new("umount").arg("--lazy").arg(place).status());
    }
}
