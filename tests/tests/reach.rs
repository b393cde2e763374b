//! Row S3: what a workload can reach of the host, and what it is there: nothing, and its caller.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::probe::probe;
use closedpaw_tests::tiers;
use closedpaw_tests::world::{field, prefix, sha256};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

/// Row S3: files of the host that the same user, or root, could read outside.
#[test]
fn files_of_the_host_are_not_in_reach() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let canary = "canary-3c1f09";
        let home = world.person.home.join("canary");
        fs::write(&home, canary).unwrap();
        let roots = world.work().join("canary");
        fs::write(&roots, canary).unwrap();
        let mut session = tiers::open(&world, tier);
        let places = [
            "/etc/shadow".to_owned(),
            "/proc/1/root/etc/shadow".to_owned(),
            "/proc/self/root/etc/shadow".to_owned(),
            "/proc/1/cwd/etc/shadow".to_owned(),
            "/root/.bashrc".to_owned(),
            "/proc/1/mem".to_owned(),
            "/proc/kcore".to_owned(),
            "/dev/mem".to_owned(),
            "/sys/kernel/security/lsm".to_owned(),
            home.display().to_string(),
            format!("/proc/1/root{}", home.display()),
            format!("/workspace/../..{}", home.display()),
            roots.display().to_string(),
            world.socket().display().to_string(),
            world.etc().join("daemon.pub").display().to_string(),
        ];
        let words: Vec<&str> = std::iter::once("read").chain(places.iter().map(String::as_str)).collect();
        let found = probe(&world, &mut session, &words);
        for place in &places {
            let result = found[place].as_str().unwrap();
            assert!(result.starts_with("errno:"), "{place}: {result}");
        }
        // The prober does read what is there: its own folder, and an /etc that is not the host's.
        world.person.write("here", b"in reach");
        let found = probe(&world, &mut session, &["read", "/workspace/here", "/etc/passwd"]);
        assert_eq!(found["/workspace/here"], "ok:in reach");
        let passwd = found["/etc/passwd"].as_str().unwrap();
        assert!(passwd.contains("person") && !passwd.contains("closedpaw-test"), "{passwd}");
        drop(session);
        world.verify_audit();
    }
}

/// Row S3: the metadata address, the host's loopback, the daemon's socket, abstract sockets.
#[test]
fn nothing_of_the_host_can_be_connected_to() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0").ok();
        let path = world.work().join("listens");
        let unix = UnixListener::bind(&path).unwrap();
        let name = format!("closedpaw-test-{}", std::process::id());
        let abstract_one = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        // Somebody's in the very folder that the sandbox sees: a language server's, a debugger's.
        let within = world.person.workspace.join("listens");
        let inside = UnixListener::bind(&within).unwrap();
        fs::set_permissions(&within, Permissions::from_mode(0o777)).unwrap();
        for listener in [&unix, &abstract_one, &inside] {
            listener.set_nonblocking(true).unwrap();
        }
        tcp.set_nonblocking(true).unwrap();
        let mut session = tiers::open(&world, tier);
        let mut places = vec![
            "tcp:169.254.169.254:80".to_owned(),
            format!("tcp:127.0.0.1:{}", tcp.local_addr().unwrap().port()),
            "tcp:1.1.1.1:443".to_owned(),
            "udp:1.1.1.1:53".to_owned(),
            "tcp:127.0.0.1:11434".to_owned(),
            format!("unix:{}", world.socket().display()),
            format!("unix:{}", path.display()),
            "unix:/workspace/listens".to_owned(),
            format!("abstract:{name}"),
            "unix:/run/systemd/private".to_owned(),
            "unix:/var/run/docker.sock".to_owned(),
        ];
        places.extend(
            tcp6.iter().map(|listener| format!("tcp:[::1]:{}", listener.local_addr().unwrap().port())),
        );
        let words: Vec<&str> = std::iter::once("connect").chain(places.iter().map(String::as_str)).collect();
        let found = probe(&world, &mut session, &words);
        for place in &places {
            let result = found[place].as_str().unwrap();
            assert!(result.starts_with("errno:"), "{place}: {result}");
        }
        assert!(tcp.accept().is_err() && unix.accept().is_err() && abstract_one.accept().is_err());
        assert!(inside.accept().is_err());
        drop(session);
        world.verify_audit();
    }
}

/// Row S3: the calls that break out of a container, and what they would be used for.
#[test]
fn calls_that_break_out_fail() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let mut session = tiers::open(&world, tier);
        let found = probe(&world, &mut session, &["calls"]);
        let found = found.as_object().unwrap();
        assert!(found.len() > 25, "{found:?}");
        for (call, result) in found.iter().filter(|(call, _)| !call.starts_with("clone")) {
            assert!(matches!(result.as_str(), Some("errno:EPERM" | "errno:ENOSYS")), "{call}: {result}");
        }
        drop(session);
        world.verify_audit();
    }
}

/// Row S3: a user namespace of one's own gives every capability in it, and with them far more of the kernel to attack
/// (CVE-2022-0185). `unshare` is one way to it, `clone` with a flag the other.
#[test]
fn a_workload_makes_no_namespaces() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let mut session = tiers::open(&world, tier);
        let found = probe(&world, &mut session, &["calls"]);
        for call in ["clone-user", "clone-mounts", "clone3-user"] {
            let result = found[call].as_str().unwrap();
            assert!(matches!(result, "errno:EPERM" | "errno:ENOSYS"), "{call}: {result}");
        }
        drop(session);
        world.verify_audit();
    }
}

/// Row S3: core-pattern, release_agent, overwriting the running program (CVE-2019-5736) and the host's programs.
#[test]
fn what_the_host_runs_cannot_be_written() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let init = prefix().join("libexec/closedpaw/closedpaw-init");
        let watched = [
            Path::new("/proc/sys/kernel/core_pattern"),
            Path::new("/usr/bin/true"),
            &init,
            Path::new("/etc/passwd"),
        ];
        let before = watched.map(sha256);
        let mut session = tiers::open(&world, tier);
        let places = [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sysrq-trigger",
            "/proc/1/oom_score_adj",
            "/proc/self/uid_map",
            "/sys/fs/cgroup/release_agent",
            "/sys/fs/cgroup/memory/release_agent",
            "/proc/self/exe",
            "/proc/1/exe",
            "/closedpaw/init",
            "/usr/bin/true",
            "/usr/lib/new",
            "/bin/new",
            "/etc/passwd",
            "/etc/ld.so.preload",
            "/new",
            "/closedpaw/new",
        ];
        let words: Vec<&str> = std::iter::once("write").chain(places).collect();
        let found = probe(&world, &mut session, &words);
        for place in places {
            let result = found[place].as_str().unwrap();
            assert!(result.starts_with("errno:"), "{place}: {result}");
        }
        // Not only because these belong to nobody inside: both are mounted read-only (proc_pid_mounts(5)).
        let found = probe(&world, &mut session, &["read", "/proc/self/mounts"]);
        let mounts = found["/proc/self/mounts"].as_str().unwrap().trim_start_matches("ok:").to_owned();
        for place in ["/", "/usr"] {
            let of = |line: &str| -> Option<bool> {
                let fields: Vec<&str> = line.split(' ').collect();
                (fields[1] == place).then(|| fields[3].split(',').any(|option| option == "ro"))
            };
            assert_eq!(mounts.lines().filter_map(of).next_back(), Some(true), "{place}: {mounts}");
        }
        let found = probe(&world, &mut session, &["write", "/workspace/may", "/tmp/may"]);
        assert_eq!((&found["/workspace/may"], &found["/tmp/may"]), (&"ok".into(), &"ok".into()));
        assert_eq!(watched.map(sha256), before);
        drop(session);
        world.verify_audit();
    }
}

/// The workload is the caller, inside and outside; the host's root is nobody there.
#[test]
fn the_hosts_root_is_not_in_the_sandboxs_map() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let mut session = tiers::open(&world, tier);
        let found = probe(&world, &mut session, &["me"]);
        assert_eq!(found["uid"], world.person.uid);
        assert_eq!(found["gid"], world.person.gid);
        assert_eq!(found["groups"], serde_json::json!([]), "no group came along");
        assert_eq!(found["CapEff"], "0000000000000000");
        assert_eq!(found["usr"], 65534, "the host's root, as seen from inside");
        assert_eq!(found["setuid"], "errno:EPERM");
        assert_eq!(found["kill-init"], "errno:EPERM");
        let sandbox = world.sandbox_process().expect("the sandbox runs");
        for kind in ["uid", "gid"] {
            let own = if kind == "uid" { world.person.uid } else { world.person.gid };
            let map = fs::read_to_string(format!("/proc/{sandbox}/{kind}_map")).unwrap();
            let ranges: Vec<[u64; 3]> = map
                .lines()
                .map(|line| {
                    let numbers: Vec<u64> =
                        line.split_whitespace().map(|number| number.parse().unwrap()).collect();
                    [numbers[0], numbers[1], numbers[2]]
                })
                .collect();
            assert!(!ranges.is_empty() && ranges.iter().all(|[_, outside, _]| *outside != 0), "{map}");
            let others = |[_, outside, length]: &&[u64; 3]| {
                *outside < 1_900_000_000 && [*outside, *length] != [own.into(), 1]
            };
            assert_eq!(ranges.iter().filter(others).count(), 0, "{map}");
        }
        assert_ne!(field(sandbox, "Uid:").split_whitespace().next(), Some("0"));
        drop(session);
        world.verify_audit();
    }
}
