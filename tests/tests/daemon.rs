//! What the daemon's two processes may still do, as the kernel has it and not as they say.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::world::{World, field};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// capabilities(7): chown 0, dac_override 1, dac_read_search 2, fowner 3, kill 5, setgid 6, setuid 7, setpcap 8,
/// sys_chroot 18, sys_ptrace 19, sys_admin 21, sys_nice 23.
const LAUNCHER: &str = "0000000000ac01ef";

const NONE: &str = "0000000000000000";

#[test]
fn the_launcher_keeps_twelve_capabilities_and_no_way_to_others() {
    let world = World::new();
    let launcher = world.daemon_pid();
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(launcher, set), LAUNCHER, "{set}");
    }
    assert_eq!((field(launcher, "CapInh:"), field(launcher, "CapAmb:")), (NONE.into(), NONE.into()));
    assert_eq!(field(launcher, "Threads:"), "1");
}

#[test]
fn the_judge_is_nobody_with_no_privilege() {
    let world = World::new();
    let (judge, _) =
        world.command_lines().into_iter().find(|(_, words)| words[0] == "closedpawd-judge").unwrap();
    let output = Command::new("id").args(["-u", "closedpaw"]).output().unwrap();
    let uid = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(field(judge, "Uid:").split_whitespace().all(|one| one == uid), "{}", field(judge, "Uid:"));
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(judge, set), NONE, "{set}");
    }
    assert_eq!((field(judge, "NoNewPrivs:"), field(judge, "Seccomp:")), ("1".into(), "2".into()));
    // Not dumpable: what lies under /proc of such a process is root's (proc_pid(5)).
    assert_eq!(fs::metadata(format!("/proc/{judge}/mem")).unwrap().uid(), 0);
}
