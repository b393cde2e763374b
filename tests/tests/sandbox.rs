//! Rows S3, S4 and P4, P7: work in a sandbox, and everything that tries to get out of it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../src/probe.rs"]
mod probe;
#[path = "../src/probe_relay.rs"]
mod probe_relay;

use closedpaw_protocol::stream::Exit;
use closedpaw_tests::raw::Session;
use closedpaw_tests::world::{World, prefix, until};
use probe::{QUESTION, Terminal, approved, says_yes};
use probe_relay::{ACK, DATA, FIN, Hostile, PING, RST, SYN, WINDOW, framed, yamux};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Profiles like the shipped one but for some limits.
fn profile(limits: &str) -> String {
    format!(
        "version = 1\n[[profile]]\nname = \"default\"\nisolation = \"gvisor\"\nenv = [\"LANG\"]\n\
         mounts = {{ workspace = \"layer\" }}\n[profile.limits]\nmemory = \"2GiB\"\npids = 512\ncpu = 200\n{limits}\n"
    )
}

/// Runs the prober with these words and gives what it found.
fn probe(world: &World, session: &mut Session, words: &[&str]) -> Value {
    world.person.write("probe.py", include_bytes!("../src/probe.py"));
    let argv: Vec<&str> = ["python3", "probe.py"].iter().chain(words).copied().collect();
    let (out, err, exit) = approved(session, &world.person, &argv);
    let text = String::from_utf8_lossy(&out).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}, {exit:?}: {text}\n{}", String::from_utf8_lossy(&err)))
}

/// SHA-256 by an outside tool.
fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", path.display());
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// The command lines of all processes that speak of this world.
fn lines(world: &World) -> Vec<(u32, Vec<String>)> {
    let line = |process: u32| {
        let bytes = fs::read(format!("/proc/{process}/cmdline")).ok()?;
        Some((
            process,
            bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        ))
    };
    world.processes().into_iter().filter_map(line).collect()
}

fn sandbox_process(world: &World) -> Option<u32> {
    lines(world)
        .into_iter()
        .find(|(_, words)| words.iter().any(|word| word == "boot"))
        .map(|(process, _)| process)
}

fn field(process: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

// ---- What is in reach --------------------------------------------------------------------------------------------

/// Row S3: files of the host that the same user, or root, could read outside.
#[test]
fn files_of_the_host_are_not_in_reach() {
    let world = World::new();
    let canary = "canary-3c1f09";
    let home = world.person.home.join("canary");
    fs::write(&home, canary).unwrap();
    let roots = world.work().join("canary");
    fs::write(&roots, canary).unwrap();
    let mut session = Session::open(&world.person);
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

/// Row S3: the metadata address, the host's loopback, the daemon's socket, abstract sockets.
#[test]
fn nothing_of_the_host_can_be_connected_to() {
    let world = World::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let path = world.work().join("listens");
    let unix = UnixListener::bind(&path).unwrap();
    let name = format!("closedpaw-test-{}", std::process::id());
    let abstract_one = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for listener in [&unix, &abstract_one] {
        listener.set_nonblocking(true).unwrap();
    }
    tcp.set_nonblocking(true).unwrap();
    let mut session = Session::open(&world.person);
    let mut places = vec![
        "tcp:169.254.169.254:80".to_owned(),
        format!("tcp:127.0.0.1:{}", tcp.local_addr().unwrap().port()),
        "tcp:1.1.1.1:443".to_owned(),
        "udp:1.1.1.1:53".to_owned(),
        "tcp:127.0.0.1:11434".to_owned(),
        format!("unix:{}", world.socket().display()),
        format!("unix:{}", path.display()),
        format!("abstract:{name}"),
        "unix:/run/systemd/private".to_owned(),
        "unix:/var/run/docker.sock".to_owned(),
    ];
    places.extend(tcp6.iter().map(|listener| format!("tcp:[::1]:{}", listener.local_addr().unwrap().port())));
    let words: Vec<&str> = std::iter::once("connect").chain(places.iter().map(String::as_str)).collect();
    let found = probe(&world, &mut session, &words);
    for place in &places {
        let result = found[place].as_str().unwrap();
        assert!(result.starts_with("errno:"), "{place}: {result}");
    }
    assert!(tcp.accept().is_err() && unix.accept().is_err() && abstract_one.accept().is_err());
    drop(session);
    world.verify_audit();
}

/// Row S3: the calls that break out of a container, and what they would be used for.
#[test]
fn calls_that_break_out_fail() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let found = probe(&world, &mut session, &["calls"]);
    let found = found.as_object().unwrap();
    assert!(found.len() > 25, "{found:?}");
    for (call, result) in found.iter().filter(|(call, _)| !call.starts_with("clone")) {
        assert!(matches!(result.as_str(), Some("errno:EPERM" | "errno:ENOSYS")), "{call}: {result}");
    }
    drop(session);
    world.verify_audit();
}

/// Row S3: a user namespace of one's own gives every capability in it, and with them far more of the kernel to attack
/// (CVE-2022-0185). `unshare` is one way to it, `clone` with a flag the other.
#[test]
fn a_workload_makes_no_namespaces() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let found = probe(&world, &mut session, &["calls"]);
    for call in ["clone-user", "clone-mounts", "clone3-user"] {
        let result = found[call].as_str().unwrap();
        assert!(matches!(result, "errno:EPERM" | "errno:ENOSYS"), "{call}: {result}");
    }
    drop(session);
    world.verify_audit();
}

/// Row S3: core-pattern, release_agent, overwriting the running program (CVE-2019-5736) and the host's programs.
#[test]
fn what_the_host_runs_cannot_be_written() {
    let world = World::new();
    let init = prefix().join("libexec/closedpaw/closedpaw-init");
    let watched = [
        Path::new("/proc/sys/kernel/core_pattern"),
        Path::new("/usr/bin/true"),
        &init,
        Path::new("/etc/passwd"),
    ];
    let before = watched.map(sha256);
    let mut session = Session::open(&world.person);
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
    let found = probe(&world, &mut session, &["write", "/workspace/may", "/tmp/may"]);
    assert_eq!((&found["/workspace/may"], &found["/tmp/may"]), (&"ok".into(), &"ok".into()));
    assert_eq!(watched.map(sha256), before);
    drop(session);
    world.verify_audit();
}

/// The workload is the caller, inside and outside; the host's root is nobody there.
#[test]
fn the_hosts_root_is_not_in_the_sandboxs_map() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let found = probe(&world, &mut session, &["me"]);
    assert_eq!(found["uid"], world.person.uid);
    assert_eq!(found["gid"], world.person.gid);
    assert_eq!(found["groups"], serde_json::json!([]), "no group came along");
    assert_eq!(found["CapEff"], "0000000000000000");
    assert_eq!(found["usr"], 65534, "the host's root, as seen from inside");
    assert_eq!(found["setuid"], "errno:EPERM");
    assert_eq!(found["kill-init"], "errno:EPERM");
    let sandbox = sandbox_process(&world).expect("the sandbox runs");
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

// ---- What it may use up ------------------------------------------------------------------------------------------

/// Row S3: while one sandbox does this, another one still does its work.
fn unharmed(limits: &str, words: &[&str], look: impl FnOnce(&str, Exit)) {
    let mut world = World::builder().profiles(&profile(limits)).build();
    world.person.write("probe.py", include_bytes!("../src/probe.py"));
    let mut session = Session::open(&world.person);
    let argv: Vec<&str> = ["python3", "probe.py"].iter().chain(words).copied().collect();
    let action = session.opened.exec(&argv);
    let question = session.act(&action, None).unwrap().pending();
    session.console.approve(&world.person.key(), &question).unwrap();
    let running = session.act(&action, Some(question.id)).unwrap().running();
    let (out, exit) = std::thread::scope(|scope| {
        let work = scope.spawn(|| running.finish());
        let mut others = 0;
        while !work.is_finished() || others == 0 {
            let ran = world.ctl(&["run", "--", "true"]);
            assert_eq!(ran.code, Some(0), "another sandbox: {ran}");
            others += 1;
        }
        let (out, _, exit) = work.join().unwrap();
        (String::from_utf8_lossy(&out).into_owned(), exit)
    });
    look(&out, exit);
    drop(session);
    assert!(world.is_running());
    // What the sandbox had started goes with its session.
    until("its processes end", || sandbox_process(&world).is_none().then_some(()));
    world.verify_audit();
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    unharmed(
        "seconds = 8\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["forks"],
        |out, exit| {
            // Either forking failed, or time was over.
            assert!(out.contains("forked") || exit == Exit::Timeout, "{exit:?} {out}");
        },
    );
}

#[test]
fn a_program_that_fills_memory_harms_nobody() {
    unharmed(
        "seconds = 10\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["memory"],
        |out, exit| {
            assert!(
                out.contains("filled") || matches!(exit, Exit::Timeout | Exit::Signal(9) | Exit::SandboxGone),
                "{exit:?} {out}"
            );
        },
    );
}

#[test]
fn a_layer_is_full_at_its_size() {
    for place in ["/workspace/fill", "/tmp/fill"] {
        unharmed(
            "seconds = 60\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
            &["disk", place],
            |out, exit| {
                let found: Value =
                    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error} {exit:?} {out}"));
                assert_eq!(found["end"], "errno:ENOSPC", "{found}");
                let written = found["written"].as_u64().unwrap();
                assert!((1 << 20..=16 << 20).contains(&written), "{found}");
            },
        );
    }
}

#[test]
fn descriptors_end_at_the_profiles_number() {
    unharmed(
        "seconds = 60\noutput = \"1MiB\"\nfiles = 128\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        &["descriptors"],
        |out, exit| {
            let found: Value =
                serde_json::from_str(out).unwrap_or_else(|error| panic!("{error} {exit:?} {out}"));
            assert_eq!(found["end"], "errno:EMFILE", "{found}");
            assert!(found["opened"].as_u64().unwrap() < 128, "{found}");
        },
    );
}

/// What a program leaves behind in another process group goes with its session.
#[test]
fn nothing_outlives_its_session() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let (out, _, exit) = approved(&mut session, &world.person, &["setsid", "--fork", "sleep", "1000"]);
    assert_eq!((out, exit), (vec![], Exit::Status(0)));
    assert!(sandbox_process(&world).is_some());
    drop(session);
    until("the sandbox ends", || {
        lines(&world).iter().all(|(_, words)| !words.iter().any(|word| word == "boot")).then_some(())
    });
    world.verify_audit();
}

/// A client that opens a session and goes before the runtime is done: what the runtime makes then is nobody's, and goes.
#[test]
fn a_session_that_ends_while_its_sandbox_starts_leaves_nothing() {
    let mut world = World::new();
    // Several at once, so that they are at different stages of their start when they end.
    for stage in ["create", "gofer", "boot", "gofer", "boot", "gofer"] {
        let before = world.processes();
        let sessions = [(); 4].map(|()| Session::open(&world.person));
        let begun = |(process, words): &(u32, Vec<String>)| {
            !before.contains(process) && words.iter().any(|word| word == stage || word == "boot")
        };
        until("the runtime has begun", || lines(&world).iter().any(begun).then_some(()));
        drop(sessions);
    }
    // A session opened later is ready later than what was started before has ended starting.
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    let left = || {
        lines(&world)
            .into_iter()
            .filter(|(_, words)| words.iter().any(|word| word == "boot" || word == "gofer"))
    };
    let end = Instant::now() + Duration::from_secs(20);
    while left().count() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<u32> = left().map(|(process, _)| process).collect();
    for process in &left {
        drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
    }
    assert!(left.is_empty() && world.is_running(), "{} processes of the runtime are left", left.len());
    world.verify_audit();
}

/// The same when the daemon is told to stop.
#[test]
fn a_daemon_that_stops_while_a_sandbox_starts_leaves_nothing() {
    let mut world = World::new();
    let session = Session::open(&world.person);
    let runtime =
        |words: &[String]| words.iter().any(|word| word == "create" || word == "boot" || word == "gofer");
    until("the runtime has begun", || lines(&world).iter().any(|(_, words)| runtime(words)).then_some(()));
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.stop()));
    drop(session);
    let left: Vec<u32> = lines(&world).into_iter().map(|(process, _)| process).collect();
    for process in &left {
        drop(Command::new("kill").args(["-KILL", &process.to_string()]).status());
    }
    assert!(stopped.is_ok() && left.is_empty(), "{} processes of the runtime are left", left.len());
}

// ---- `closedpawctl run` ------------------------------------------------------------------------------------------

#[test]
fn output_beyond_its_limit_ends_the_command() {
    let world = World::builder()
        .profiles(&profile(
            "seconds = 60\noutput = \"64KiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        ))
        .build();
    let ran = world.ctl(&["run", "--", "cat", "/dev/zero"]);
    assert_eq!(ran.code, Some(125), "{}", ran.err);
    assert_eq!(ran.out.len(), 64 << 10);
    assert!(ran.err.contains("output-limit"), "{}", ran.err);
    world.verify_audit();
}

#[test]
fn a_command_ends_with_its_time() {
    let world = World::builder()
        .profiles(&profile(
            "seconds = 2\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"",
        ))
        .build();
    world.person.write("log", b"line\n");
    let began = Instant::now();
    let ran = world.ctl(&["run", "--", "tail", "-f", "log"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(124), "line\n"), "{ran}");
    assert!(ran.err.contains("time-limit"), "{ran}");
    assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&began.elapsed()));
    world.verify_audit();
}

/// Ctrl-C: the client ends within a second, and the sandbox with it.
#[test]
fn an_interrupted_command_is_gone() {
    let world = World::new();
    world.person.write("log", b"line\n");
    let mut command = world.person.ctl_command(&["run", "--", "tail", "-f", "log"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = [0; 5];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert!(sandbox_process(&world).is_some());
    let began = Instant::now();
    assert!(Command::new("kill").args(["-INT", &client.id().to_string()]).status().unwrap().success());
    let status = until("the client ends", || client.try_wait().unwrap());
    let took = began.elapsed();
    assert_eq!(status.code(), Some(130));
    until("the sandbox ends", || sandbox_process(&world).is_none().then_some(()));
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.verify_audit();
}

/// What a shell would report (POSIX XCU 2.8.2).
#[test]
fn exit_statuses_are_passed_through() {
    let world = World::new();
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    assert_eq!(world.ctl(&["run", "--", "false"]).code, Some(1));
    for (argv, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let words: Vec<&str> = ["run", "--"].iter().chain(argv).copied().collect();
        let shown = says_yes(&world.person, &words);
        assert_eq!(shown.status.code(), Some(status), "{argv:?}: {}", shown.seen);
    }
    world.verify_audit();
}

/// The workspace stays as it was; what would have changed is named.
#[test]
fn writes_stay_in_the_layer_and_are_listed() {
    let world = World::new();
    let kept = world.person.write("kept", b"as it was\n");
    world.person.write("removed", b"still here\n");
    let script = "echo new > made; echo other > kept; rm removed; mkdir -p deep/er; echo x > deep/er/file; chmod +x kept";
    let shown = says_yes(&world.person, &["run", "--", "sh", "-c", script]);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    for line in ["+ made", "~ kept", "- removed", "deep"] {
        assert!(shown.seen.contains(line), "{line}: {}", shown.seen);
    }
    assert_eq!(fs::read(&kept).unwrap(), b"as it was\n");
    assert_eq!(fs::read_dir(&world.person.workspace).unwrap().count(), 2);
    world.verify_audit();
}

#[test]
fn standard_input_reaches_the_command() {
    let world = World::new();
    let bytes: Vec<u8> =
        (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = world.work().join("input");
    fs::write(&file, &bytes).unwrap();
    let mut client = world.person.ctl_command(&["run", "--", "sha256sum"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}  -\n", sha256(&file)));
    world.verify_audit();
}

#[test]
fn large_output_arrives_whole() {
    let world = World::builder()
        .policy(&format!("{OPENING}[[rule]]\nname = \"reading\"\nallow = [\"exec\"]\nargv = [[\"cat\", \"**\"]]\nrole = \"agent\"\n"))
        .build();
    let bytes: Vec<u8> =
        (0..10_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = world.person.write("large", &bytes);
    let got = world.work().join("got");
    let mut client = world.person.ctl_command(&["run", "--", "cat", "large"]);
    let status = client.stdout(fs::File::create(&got).unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(sha256(&got), sha256(&file));
    world.verify_audit();
}

const OPENING: &str = "version = 1\n[[rule]]\nname = \"opening\"\nallow = [\"open\", \"log\", \"sandbox\"]\nrole = \"approver\"\n";

// ---- P7: the environment -----------------------------------------------------------------------------------------

/// Names that make programs run or load something (CVE-2026-24763, -32056, -43584).
const HOSTILE: [&str; 10] = [
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "GIT_EXTERNAL_DIFF",
    "PERL5OPT",
    "HOME",
];

#[test]
fn hostile_variables_are_refused() {
    let world = World::new();
    for name in HOSTILE {
        let ran = world.ctl(&["run", "--env", &format!("{name}=/workspace/evil"), "--", "true"]);
        assert_eq!(ran.code, Some(77), "{name}: {ran}");
        assert!(ran.err.contains("environment-forbidden"), "{name}: {ran}");
    }
    let ran = world.ctl(&["run", "--env", "LANG=C", "--", "true"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(world.records().work().iter().all(|record| !record.to_string().contains("/workspace/evil")));
    world.verify_audit();
}

/// Neither the client's own environment nor a file in the workspace (CVE-2026-45004) reaches the command.
#[test]
fn only_known_variables_reach_the_command() {
    let world = World::new();
    let hostile: String = HOSTILE.iter().map(|name| format!("{name}=/workspace/evil\n")).collect();
    for name in [".env", ".envrc", ".bashrc", ".profile"] {
        world.person.write(name, hostile.as_bytes());
    }
    let mut command = world.person.ctl_command(&["run", "--", "env"]);
    for name in HOSTILE.iter().filter(|name| !matches!(**name, "PATH" | "HOME" | "LD_PRELOAD")) {
        command.env(name, "/workspace/evil");
    }
    command.env("SECRET_TOKEN", "canary").env("LD_PRELOAD", "/nonexistent/evil.so");
    let mut terminal = Terminal::start(command, true);
    terminal.expect(QUESTION);
    terminal.write("y\n");
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    let out = String::from_utf8(shown.out).unwrap();
    let names: BTreeSet<&str> =
        out.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let known = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "USER",
        "PYTHONNOUSERSITE",
        "PAGER",
        "GIT_PAGER",
        "GIT_TERMINAL_PROMPT",
    ];
    assert_eq!(names, known.into(), "{out}");
    assert!(!out.contains("evil") && !out.contains("canary"), "{out}");
    world.verify_audit();
}

// ---- P4: what is shown is what runs ------------------------------------------------------------------------------

/// ANSI, OSC 8 and 52, CR, bidi, zero-width, tag characters, C1, the prompt's own frame, and 50 KB (GHSA-xww8-gqvh-92x9).
#[test]
fn what_is_shown_is_whole_and_escaped_and_what_runs() {
    let long = format!("{}END", "a".repeat(50_000));
    let hostile = [
        ("\u{1b}[2J\u{1b}[1A", r"\u{1b}[2J\u{1b}[1A"),
        (
            "\u{1b}]8;;http://evil\u{7}x\u{1b}]52;c;AAAA\u{7}",
            r"\u{1b}]8;;http://evil\u{7}x\u{1b}]52;c;AAAA\u{7}",
        ),
        ("harmless\rrm -rf", r"harmless\u{d}rm -rf"),
        ("a\u{202e}b\u{2066}c", r"a\u{202e}b\u{2066}c"),
        ("a\u{200b}b\u{feff}c", r"a\u{200b}b\u{feff}c"),
        ("a\u{e0041}b", r"a\u{e0041}b"),
        ("a\u{9b}31mb", r"a\u{9b}31mb"),
        (
            "x\n└─ [y] once   [n] no\n┌─ closedpaw asks: list ─",
            r"x\u{a}└─ [y] once   [n] no\u{a}┌─ closedpaw asks: list ─",
        ),
        (long.as_str(), long.as_str()),
    ];
    let world = World::new();
    let words: Vec<&str> = ["run", "--", "env", "printf", "%s|"]
        .into_iter()
        .chain(hostile.iter().map(|(word, _)| *word))
        .collect();
    let shown = says_yes(&world.person, &words);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.seen);
    // What ran is what was typed, byte for byte.
    let expected: String = hostile.iter().map(|(word, _)| format!("{word}|")).collect();
    assert_eq!(String::from_utf8(shown.out).unwrap(), expected);
    // What was shown is all of it, and nothing of it can act on the terminal. The terminal adds CR to each line's end.
    let seen = shown.seen.replace("\r\n", "\n");
    for (_, escaped) in hostile {
        assert!(seen.contains(escaped), "{escaped:?} in {seen}");
    }
    let acts = |c: char| {
        c != '\n'
            && (c.is_control()
                || matches!(u32::from(c), 0x200b..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069 | 0xfeff | 0xe0000..=0xe007f))
    };
    assert_eq!(seen.chars().find(|c| acts(*c)), None, "{seen}");
    assert_eq!(seen.lines().filter(|line| line.starts_with('└')).count(), 1);
    assert_eq!(seen.lines().filter(|line| line.starts_with('┌')).count(), 1);
    world.verify_audit();
}

#[test]
fn a_key_typed_before_the_question_does_not_answer_it() {
    let world = World::new();
    let mut terminal = Terminal::start(world.person.ctl_command(&["run", "--", "env"]), true);
    terminal.write("y\ny\ny\n");
    terminal.expect(QUESTION);
    terminal.write("n\n");
    let shown = terminal.finish();
    assert_eq!(shown.status.code(), Some(77), "{}", shown.seen);
    assert!(shown.seen.contains("answered-no") && shown.out.is_empty(), "{}", shown.seen);
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

#[test]
fn without_a_terminal_the_answer_is_no() {
    let world = World::new();
    let mut command = world.person.ctl_command(&["run", "--", "env"]);
    let mut client =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"y\ny\n").unwrap();
    let output = client.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{err}");
    assert!(err.contains("nobody is at a terminal") && output.stdout.is_empty(), "{err}");
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

#[test]
fn a_command_of_a_megabyte_is_refused() {
    let world = World::new();
    let part = "a".repeat(100_000);
    let words: Vec<&str> =
        ["run", "--", "true"].into_iter().chain(std::iter::repeat_n(part.as_str(), 10)).collect();
    let ran = world.ctl(&words);
    assert_eq!(ran.code, Some(65), "{}", ran.err.get(..200).unwrap_or(&ran.err));
    assert!(ran.err.contains("too-large"));
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

// ---- S4: a sandbox that was taken over speaks to the relay -------------------------------------------------------

fn relay() -> PathBuf {
    prefix().join("libexec/closedpaw/closedpaw-relay")
}

/// The five bytes with which the sandbox counts as gone.
const GONE: [u8; 5] = [6, 0, 0, 0, 0];

/// What the judge and the client are told when init says this after an order: both the same, and nothing else.
fn told(what: &str, limit: u64, says: &[&[u8]]) -> ([u8; 5], Vec<u8>) {
    let mut hostile = Hostile::past_the_gate(&relay());
    let mut work = hostile.grant(limit);
    for bytes in says {
        hostile.data(work.stream, ACK, bytes);
    }
    let record = hostile.record().unwrap_or_else(|| panic!("{what}: no record"));
    assert_eq!(
        (record[0], &record[1..9]),
        (1, &work.number.to_be_bytes()[..]),
        "{what}: an end, of this work"
    );
    let exit: [u8; 5] = record[9..14].try_into().unwrap();
    let (output, last) = work.told();
    assert_eq!(u64::from_be_bytes(record[22..30].try_into().unwrap()), output.len() as u64, "{what}");
    assert_eq!(last.as_deref(), Some(&exit[..]), "{what}: the client hears the same");
    (exit, output)
}

#[test]
fn an_honest_end_is_told_as_it_is() {
    let (exit, output) =
        told("honest", 1000, &[&framed(16, b"out"), &framed(17, b"err"), &framed(18, &[0, 0, 0, 0, 7])]);
    assert_eq!((exit, output.as_slice()), ([0, 0, 0, 0, 7], &b"outerr"[..]));
}

/// Exit codes out of range, and the ends that only the relay can know of.
#[test]
fn an_exit_that_is_none_counts_as_a_sandbox_that_has_gone() {
    for payload in [
        &[0, 0, 0, 1, 0][..],
        &[0, 0xff, 0xff, 0xff, 0xff],
        &[0, 0x80, 0, 0, 0],
        &[1, 0, 0, 0, 0],
        &[1, 0, 0, 0, 65],
        &[2, 0, 0, 0, 0],
        &[2, 0, 0, 0x10, 0],
        &[2, 0xff, 0xff, 0xff, 0xff],
        &[3, 0, 0, 0, 0],
        &[4, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0],
        &[6, 0, 0, 0, 0],
        &[7, 0, 0, 0, 0],
        &[255, 255, 255, 255, 255],
        &[],
        &[0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(told(&format!("{payload:?}"), 1000, &[&framed(18, payload)]).0, GONE, "{payload:?}");
    }
}

/// Frames that are not init's to send, too long, or of no kind.
#[test]
fn a_frame_that_is_not_inits_counts_as_a_sandbox_that_has_gone() {
    for kind in [0, 1, 2, 3, 4, 19, 5, 15, 20, 99, 255] {
        assert_eq!(told(&format!("kind {kind}"), 1000, &[&framed(kind, &[0; 4])]).0, GONE, "{kind}");
    }
    // 64 KiB and one byte; four gigabytes, of which nothing may be waited for or allocated.
    for header in [[16, 0, 1, 0, 1], [16, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(told(&format!("{header:?}"), 1000, &[&header]).0, GONE);
    }
}

#[test]
fn nothing_counts_after_the_exit() {
    let says = [
        framed(16, b"before"),
        framed(18, &[0, 0, 0, 0, 0]),
        framed(16, b"after"),
        framed(18, &[0, 0, 0, 0, 9]),
    ]
    .concat();
    let (exit, output) = told("after the exit", 1000, &[&says]);
    assert_eq!((exit, output.as_slice()), ([0; 5], &b"before"[..]));
}

#[test]
fn output_is_cut_at_the_grant() {
    let (exit, output) = told("limit", 10, &[&framed(16, b"12345678"), &framed(17, b"90abc")]);
    assert_eq!((exit, output.as_slice()), ([4, 0, 0, 0, 0], &b"1234567890"[..]));
}

/// Half a frame, then the stream's end or reset.
#[test]
fn a_stream_that_breaks_off_counts_as_a_sandbox_that_has_gone() {
    for flags in [FIN, RST] {
        let mut hostile = Hostile::past_the_gate(&relay());
        let mut work = hostile.grant(1000);
        hostile.data(work.stream, ACK, &[16, 0, 0, 0, 9, b'h']);
        hostile.send(&yamux(WINDOW, flags, work.stream, 0, &[]));
        let record = hostile.record().expect("a record");
        assert_eq!(record[9..14], GONE);
        assert_eq!(work.told(), (vec![], Some(GONE.to_vec())));
    }
}

/// What breaks the channel itself ends that relay, by its own hand and soon.
#[test]
fn a_broken_channel_ends_its_relay() {
    let random: Vec<u8> =
        (1..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("random bytes", random),
        ("another version", [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0].to_vec()),
        ("no such type", yamux(9, 0, 1, 0, &[])),
        ("a stream that init opens", yamux(WINDOW, SYN, 2, 0, &[])),
        ("a stream with data that init opens", yamux(DATA, SYN, 2, 5, &[0, 0, 0, 0, 0])),
    ];
    for (what, bytes) in cases {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&bytes);
        hostile.must_end(what);
        assert_eq!(hostile.record(), None, "{what}: nothing more is recorded");
    }
    for (what, half) in [("half a header", 7), ("half a payload", 20)] {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&yamux(DATA, ACK, 1, 100, &[0; 100])[..half]);
        hostile.to_relay = None;
        hostile.must_end(what);
        assert_eq!(hostile.record(), None, "{what}");
    }
}

/// What yamux may answer with a word of its own: the relay ends, or it goes on as if nothing had been said.
#[test]
fn a_fault_of_the_protocol_changes_nothing() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a stream with the relay's number", yamux(WINDOW, SYN, 5, 0, &[])),
        ("a stream that was never opened", yamux(DATA, SYN, 4_000_000_000, 0, &[])),
        ("a frame of four gigabytes", yamux(DATA, ACK, 1, u32::MAX, &[0; 64])),
        ("go away", yamux(3, 0, 0, 0, &[])),
        ("go away, with a reason that is none", yamux(3, 0, 0, 77, &[])),
    ];
    for (what, bytes) in cases {
        let mut hostile = Hostile::past_the_gate(&relay());
        hostile.send(&bytes);
        if hostile.ends_within(Duration::from_millis(300)) {
            hostile.must_end(what);
            assert_eq!(hostile.record(), None, "{what}: nothing more is recorded");
            continue;
        }
        let mut work = hostile.grant(1000);
        hostile.data(work.stream, ACK, &framed(18, &[0, 0, 0, 0, 3]));
        let record = hostile.record().unwrap_or_else(|| panic!("{what}: no record"));
        assert_eq!(record[9..14], [0, 0, 0, 0, 3], "{what}");
        assert_eq!(work.told().1, Some(vec![0, 0, 0, 0, 3]), "{what}");
    }
}

/// The gate's answer has one form.
#[test]
fn a_gate_that_is_none_ends_its_relay_without_a_record() {
    for answer in [
        framed(19, &[]),
        framed(19, &[0, 0, 1]),
        framed(19, &[0, 0, 0, 1, 0xff]),
        framed(18, &[0, 0, 0, 0, 0]),
        framed(16, b"hello"),
        vec![19, 0xff, 0xff, 0xff, 0xff],
        vec![77, 0, 0, 0, 4, 0, 0, 1, 0xff],
    ] {
        let mut hostile = Hostile::start(&relay());
        hostile.answer_gate(&answer);
        hostile.must_end(&format!("{answer:?}"));
        assert_eq!(hostile.record(), None, "{answer:?}");
    }
    let mut hostile = Hostile::start(&relay());
    hostile.to_relay = None;
    hostile.must_end("no answer");
    assert_eq!(hostile.record(), None);
}

/// 10^6 streams, and as many pings whose answers nobody reads: neither fills memory.
#[test]
fn floods_end_the_relay_or_wait() {
    let mut hostile = Hostile::past_the_gate(&relay());
    let many: Vec<u8> = (1..=1000_u32).flat_map(|number| yamux(WINDOW, SYN, number * 2, 0, &[])).collect();
    let whole = (0..1000).all(|_| hostile.send(&many));
    assert!(!whole, "the relay hangs up");
    hostile.must_end("a flood of streams");

    let hostile = Hostile::past_the_gate(&relay());
    let relay = hostile.relay.id();
    let pings: Vec<u8> = (0..1000_u32).flat_map(|number| yamux(PING, SYN, 0, number, &[])).collect();
    // The writer waits for ever once the relay takes no more; it goes when the relay is killed.
    let mut to = hostile.to_relay.as_ref().unwrap().try_clone().unwrap();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let flood = std::thread::spawn(move || {
        for _ in 0..1000 {
            if to.write_all(&pings).is_err() {
                return;
            }
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let (mut before, mut still) = (usize::MAX, 0);
    until("the flood is over or waits", || {
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        (flood.is_finished() || still > 200).then_some(())
    });
    if Path::new(&format!("/proc/{relay}/status")).exists() && !field(relay, "State:").starts_with('Z') {
        let kilobytes: u64 = field(relay, "VmRSS:").trim_end_matches(" kB").trim().parse().unwrap();
        assert!(kilobytes < 64 << 10, "{kilobytes} kB after {before}000 pings");
    }
    drop(hostile);
    flood.join().unwrap();
}

/// The relay as the launcher starts it, beside a sandbox that works.
#[test]
fn a_relay_can_do_nothing_but_its_work() {
    let world = World::new();
    let mut session = Session::open(&world.person);
    let done = session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    assert_eq!(done.2, Exit::Status(0));
    let relay = until("the relay runs", || {
        world.processes().into_iter().find(|process| {
            fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|name| name.starts_with("closedpaw-relay"))
        })
    });
    until("it has confined itself", || (field(relay, "Seccomp:") == "2").then_some(()));
    let uids = field(relay, "Uid:");
    for uid in uids.split_whitespace().chain(field(relay, "Gid:").split_whitespace()) {
        let uid: u32 = uid.parse().unwrap();
        assert!((1_900_000_000..1_900_001_024).contains(&uid), "{uids}");
    }
    assert_eq!(field(relay, "Groups:"), "");
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(field(relay, set), "0000000000000000", "{set}");
    }
    assert_eq!((field(relay, "NoNewPrivs:"), field(relay, "Threads:")), ("1".to_owned(), "1".to_owned()));
    for entry in fs::read_dir(format!("/proc/{relay}/fd")).unwrap().flatten() {
        let number = entry.file_name().into_string().unwrap();
        let to = fs::read_link(entry.path()).unwrap().display().to_string();
        let known = ["pipe:", "socket:", "anon_inode:", "/dev/null"].iter().any(|kind| to.starts_with(kind));
        // Standard error is the journal.
        assert!(known || number == "2", "{number}: {to}");
    }
    world.verify_audit();
}

/// A relay that dies takes its own sandbox and no other.
#[test]
fn a_relays_end_is_its_own_sandboxs_alone() {
    let mut world = World::new();
    let relays = |world: &World| -> BTreeSet<u32> {
        let is = |process: &u32| {
            fs::read_to_string(format!("/proc/{process}/comm"))
                .is_ok_and(|name| name.starts_with("closedpaw-relay"))
        };
        world.processes().into_iter().filter(is).collect()
    };
    let mut one = Session::open(&world.person);
    assert_eq!(one.act(&one.opened.exec(&["true"]), None).unwrap().running().finish().2, Exit::Status(0));
    let first = relays(&world);
    assert_eq!(first.len(), 1);
    let mut two = Session::open(&world.person);
    assert_eq!(two.act(&two.opened.exec(&["true"]), None).unwrap().running().finish().2, Exit::Status(0));
    let relay = first.first().unwrap().to_string();
    assert!(Command::new("kill").args(["-KILL", &relay]).status().unwrap().success());
    until("its relay is gone", || (relays(&world).len() == 1).then_some(()));
    let refused = until("its session says so", || one.act(&one.opened.exec(&["true"]), None).err());
    assert_eq!(refused.code.word(), "sandbox-gone");
    assert_eq!(
        two.act(&two.opened.exec(&["echo", "here"]), None).unwrap().running().finish(),
        (b"here\n".to_vec(), vec![], Exit::Status(0))
    );
    assert!(world.is_running());
    drop((one, two));
    world.verify_audit();
}
