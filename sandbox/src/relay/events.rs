//! What the kernel counts of a sandbox's limits: for which of them it has ended something.
#![forbid(unsafe_code)]

use closedpaw_protocol::stream::Exit;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// More than the kernel ever says in one of these files.
const MOST: usize = 512;

/// `memory.events` and `pids.events` of a sandbox's cgroup, or what there is of them, with the counts as they were at first.
pub(super) struct Events {
    files: Vec<File>,
    before: Counts,
}

/// How often each limit was reached (cgroup-v2.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    /// The memory limit was reached, and nothing could be freed.
    full: u64,
    /// A process was killed to free memory.
    killed: u64,
    /// A process could not be made.
    refused: u64,
}

impl Events {
    /// Which file is which, they say themselves.
    pub(super) fn new(files: impl Iterator<Item = OwnedFd>) -> Self {
        let files: Vec<File> = files.map(File::from).collect();
        let before = count(&files);
        Self { files, before }
    }

    /// How a piece of work ended, with the limit for which it did where the kernel counted one meanwhile.
    ///
    /// A work that killed itself while another was ended for a limit is told from that by nobody.
    pub(super) fn name(&self, exit: Exit) -> Exit {
        let after = count(&self.files);
        let rose = |count: fn(&Counts) -> u64| count(&after) > count(&self.before);
        match exit {
            // Killed for memory, but not because the whole machine has none left.
            Exit::Signal(9) | Exit::SandboxGone if rose(|c| c.full) && rose(|c| c.killed) => {
                Exit::MemoryLimit
            }
            // gVisor's own threads are processes of the cgroup, and without another one it ends.
            Exit::SandboxGone if rose(|c| c.refused) => Exit::ProcessLimit,
            exit => exit,
        }
    }
}

fn count(files: &[File]) -> Counts {
    files.iter().filter_map(read).fold(Counts::default(), |mut counts, text| {
        let of = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(name, _)| *name == key).and_then(|(_, number)| number.parse().ok())
        };
        match of("oom_kill") {
            Some(killed) => (counts.killed, counts.full) = (killed, of("oom").unwrap_or(0)),
            None => counts.refused = of("max").unwrap_or(0),
        }
        counts
    })
}

/// Its text. It cannot be read any more where the cgroup has gone.
fn read(file: &File) -> Option<String> {
    let mut buffer = [0; MOST];
    let length = file.read_at(&mut buffer, 0).ok()?;
    String::from_utf8(buffer.get(..length)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A kernel's own words (Linux 6.12), with these numbers.
    fn memory(oom: u64, kill: u64) -> String {
        format!("low 0\nhigh 0\nmax 99\noom {oom}\noom_kill {kill}\noom_group_kill 0\n")
    }

    /// A file without a name, open to be read and written.
    fn file(text: &[u8]) -> File {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("closedpaw-events-{}-{next}", std::process::id()));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(text).unwrap();
        file
    }

    /// What an end is called when the files said the one before and say the other after.
    fn named(exit: Exit, before: [&str; 2], after: [&str; 2]) -> Exit {
        let files = before.map(|text| file(text.as_bytes()));
        let held: Vec<File> = files.iter().map(|file| file.try_clone().unwrap()).collect();
        let events = Events::new(files.into_iter().map(OwnedFd::from));
        for (file, text) in held.iter().zip(after) {
            file.set_len(0).unwrap();
            file.write_all_at(text.as_bytes(), 0).unwrap();
        }
        events.name(exit)
    }

    #[test]
    fn an_end_has_the_name_of_the_limit_that_was_reached() {
        let (calm, full, elsewhere) = (memory(3, 1), memory(5, 2), memory(3, 2));
        let after = |exit, memory: &str, pids| named(exit, [&calm, "max 7\n"], [memory, pids]);
        for exit in [Exit::Signal(9), Exit::SandboxGone] {
            assert_eq!(after(exit, &full, "max 7\n"), Exit::MemoryLimit);
            assert_eq!(after(exit, &calm, "max 7\n"), exit);
            // The whole machine was out of memory: not a limit of the sandbox's.
            assert_eq!(after(exit, &elsewhere, "max 7\n"), exit);
            // In whichever order they come.
            assert_eq!(named(exit, ["max 7\n", &calm], ["max 7\n", &full]), Exit::MemoryLimit);
        }
        assert_eq!(after(Exit::SandboxGone, &calm, "max 8\n"), Exit::ProcessLimit);
        // A program is told itself that it may start no other.
        assert_eq!(after(Exit::Signal(9), &calm, "max 8\n"), Exit::Signal(9));
        for exit in [Exit::Status(137), Exit::Signal(15), Exit::Timeout, Exit::NotStarted(11)] {
            assert_eq!(after(exit, &full, "max 8\n"), exit);
        }
    }

    #[test]
    fn without_files_an_end_is_what_it_is() {
        assert_eq!(Events::new(std::iter::empty()).name(Exit::SandboxGone), Exit::SandboxGone);
    }

    proptest! {
        #[test]
        fn whatever_a_file_says_nothing_breaks(text in any::<Vec<u8>>(), more in "(oom|oom_kill|max) [0-9]{0,25}\n") {
            let files = [text, more.into_bytes()].map(|bytes| OwnedFd::from(file(&bytes)));
            prop_assert_eq!(Events::new(files.into_iter()).name(Exit::SandboxGone), Exit::SandboxGone);
        }
    }
}
