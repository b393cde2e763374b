//! What the worker may do: write below one folder, and move bytes between descriptors that it was handed.
#![forbid(unsafe_code)]

use closedpaw_confine::ConfineError;
use closedpaw_confine::calls::{BYTES, Calls, ENDING, MEMORY, NEVER_EXECUTABLE, Sometimes, WHOLE};
use closedpaw_confine::domain::{AccessFs, all_but_devices};
use closedpaw_protocol::image::Bounds;
use nix::sys::resource::{Resource, setrlimit};
use std::os::fd::BorrowedFd;

/// Bytes of memory. It needs a buffer, a window of gzip and the JSON of an image.
const ADDRESSES: u64 = 512 << 20;

/// Seconds of a processor: what the largest image takes on a slow one, and more.
const SECONDS: u64 = 3600;

/// Open files: each part of a layout, one after the other.
const FILES: u64 = 64;

/// Gives everything else up, for good.
pub(crate) fn confine(folder: BorrowedFd<'_>, bounds: &Bounds) -> Result<(), ConfineError> {
    for (limit, value) in [
        (Resource::RLIMIT_AS, ADDRESSES),
        (Resource::RLIMIT_CPU, SECONDS),
        (Resource::RLIMIT_FSIZE, bounds.file),
        (Resource::RLIMIT_NOFILE, FILES),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(limit, value, value)?;
    }
    // The modes of what it makes are as it says.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    closedpaw_confine::no_capabilities()?;
    // Whiteouts are devices to Landlock; any other device is the next filter's to refuse.
    let access = all_but_devices() | AccessFs::MakeChar;
    closedpaw_confine::keep_below(folder, access, &CALLS)
}

/// All that it calls.
const CALLS: Calls = Calls {
    always: &[
        BYTES,
        MEMORY,
        ENDING,
        &[
            libc::SYS_pread64,
            libc::SYS_futex,
            // files beneath the folder: Landlock says where
            libc::SYS_openat2,
            libc::SYS_mkdirat,
            libc::SYS_symlinkat,
            libc::SYS_linkat,
            libc::SYS_unlinkat,
            libc::SYS_newfstatat,
            libc::SYS_statx,
            libc::SYS_utimensat,
            libc::SYS_fsetxattr,
        ],
    ],
    sometimes: &[
        NEVER_EXECUTABLE,
        // A whiteout: the device 0:0, which is none.
        Sometimes {
            calls: &[libc::SYS_mknodat],
            arguments: &[(2, WHOLE, libc::S_IFCHR.cast_signed()), (3, WHOLE, 0)],
        },
    ],
};

#[cfg(test)]
mod tests {
    //! Each attempt is made in a process of its own: this test program again, asked for one test.

    use super::*;
    use crate::tree::{Place, Tree, open_folder};
    use closedpaw_protocol::image::BOUNDS;
    use std::fs;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};

    /// What asks for an attempt.
    const ASK: &str = "CLOSEDPAW_TEST_ATTEMPT";

    /// The status of an attempt that failed.
    const REFUSED: i32 = 7;

    /// Confines this process to a folder and tries one thing.
    fn attempt(what: &str) -> bool {
        let folder = tempfile::tempdir().unwrap().keep();
        let (store, outside) = (folder.join("store"), folder.join("outside"));
        fs::create_dir(&store).unwrap();
        fs::write(&outside, "o").unwrap();
        let (inside, around) = (open_folder(&store).unwrap(), open_folder(&folder).unwrap());
        confine(inside.as_fd(), &BOUNDS).unwrap();
        let place = |name: &str| Place::parse(name.as_bytes(), &BOUNDS).unwrap();
        let tree = || Tree::make(inside.as_fd(), "1").unwrap();
        let device =
            |mode, number| rustix::fs::mknodat(&inside, "d", mode, rustix::fs::Mode::empty(), number).is_ok();
        match what {
            "unpack" => {
                let mut tree = tree();
                let file = |tree: &mut Tree| tree.file(&place("a/b"), true).unwrap().write_all(b"x").is_ok();
                file(&mut tree)
                    && tree.hard_link(&place("c/d"), &place("a/b")).is_ok()
                    && tree.link(&place("e"), b"/etc").is_ok()
                    && tree.hide(&place("f")).is_ok()
                    && tree.hide_all_in(&[b"a".to_vec()]).is_ok()
                    && tree.file(&place("e"), false).is_ok()
                    && tree.folder(&place("e")).is_ok()
            }
            "write outside" => rustix::fs::openat2(
                &around,
                "new",
                rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
                rustix::fs::Mode::empty(),
                rustix::fs::ResolveFlags::empty(),
            )
            .is_ok(),
            "read outside" => rustix::fs::openat2(
                &around,
                "outside",
                rustix::fs::OFlags::RDONLY,
                rustix::fs::Mode::empty(),
                rustix::fs::ResolveFlags::empty(),
            )
            .is_ok(),
            "link from outside" => {
                rustix::fs::linkat(&around, "outside", &inside, "in", rustix::fs::AtFlags::empty()).is_ok()
            }
            "remove outside" => {
                rustix::fs::unlinkat(&around, "outside", rustix::fs::AtFlags::empty()).is_ok()
            }
            "open by name" => fs::read("/etc/passwd").is_ok(),
            "make a device" => device(rustix::fs::FileType::CharacterDevice, 0x103),
            "make a block device" => device(rustix::fs::FileType::BlockDevice, 0),
            "make a pipe" => device(rustix::fs::FileType::Fifo, 0),
            "connect" => std::os::unix::net::UnixStream::connect("/run/x").is_ok(),
            "listen" => std::net::TcpListener::bind("127.0.0.1:0").is_ok(),
            "start a process" => Command::new("/bin/true").status().is_ok(),
            "start a thread" => std::thread::Builder::new().spawn(|| ()).is_ok(),
            "change a mode" => {
                fs::set_permissions(&store, std::os::unix::fs::PermissionsExt::from_mode(0o777)).is_ok()
            }
            "take much memory" => Vec::<u8>::new().try_reserve(600 << 20).is_ok(),
            other => panic!("no attempt {other}"),
        }
    }

    /// The child's side; does nothing when the whole suite runs.
    #[test]
    fn one_attempt() {
        if let Ok(what) = std::env::var(ASK) {
            // A panic would look for its own source, and end by that.
            std::process::exit(if attempt(&what) { 0 } else { REFUSED });
        }
    }

    fn ends(what: &str) -> ExitStatus {
        let mut program = Command::new(std::env::current_exe().unwrap());
        // The harness must not start a thread before us: confinement is for the threads there are.
        program.args(["--exact", "confine::tests::one_attempt", "--test-threads=1", "--nocapture"]);
        program.env(ASK, what).output().unwrap().status
    }

    #[test]
    fn what_it_needs_still_works() {
        assert_eq!(ends("unpack").code(), Some(0));
    }

    #[test]
    fn files_outside_of_its_folder_are_out_of_reach() {
        for what in
            ["write outside", "read outside", "link from outside", "remove outside", "take much memory"]
        {
            assert_eq!(ends(what).code(), Some(REFUSED), "{what}");
        }
    }

    #[test]
    fn any_other_call_ends_it() {
        for what in [
            "open by name",
            "make a device",
            "make a block device",
            "make a pipe",
            "connect",
            "listen",
            "start a process",
            "start a thread",
            "change a mode",
        ] {
            assert_eq!(ends(what).signal(), Some(libc::SIGSYS), "{what}");
        }
    }
}
