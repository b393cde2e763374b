//! The same in every tier: what a sandbox does, what it stops, what outlives what. And what only one of them says.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::message::{Reply, Request, SandboxState};
use closedpaw_protocol::relay::Gate;
use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{ErrorCode, Tier};
use closedpaw_tests::echo::{self, Echo};
use closedpaw_tests::probe::probe;
use closedpaw_tests::raw::{Session, fresh_key, opening};
use closedpaw_tests::tiers;
use closedpaw_tests::world::{World, field, until};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

fn sandboxes(world: &World) -> Vec<SandboxState> {
    match world.raw().request(&world.person.key(), &Request::Sandboxes, &[]) {
        Ok(Reply::Sandboxes(sandboxes)) => sandboxes,
        other => panic!("no list: {other:?}"),
    }
}

/// Asked for and answered: the output of a command in the session.
#[track_caller]
fn says(world: &World, session: &mut Session, argv: &[&str]) -> String {
    let (out, err, exit) = session.approved(&world.person, argv).finish();
    assert_eq!(exit, Exit::Status(0), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}

/// What a person does with it: a command, its output and status, files in the layer and nowhere else.
#[test]
fn work_is_done_in_every_tier() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let kept = world.person.write("kept", b"as it was\n");
        let run = ["run", "--isolation", tier.name(), "--"];
        let ran = world.ctl(&[&run[..], &["cat", "kept"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "as it was\n"), "{ran}");
        let mut session = tiers::open(&world, tier);
        let script =
            "echo new > kept; echo x > /tmp/y; cat kept /tmp/y; id -u; umask; hostname; echo $HOME; exit 3";
        let (out, err, exit) = session.approved(&world.person, &["sh", "-c", script]).finish();
        let expected = format!("new\nx\n{}\n0022\nsandbox\n/tmp\n", world.person.uid);
        assert_eq!((String::from_utf8_lossy(&out), exit), (expected.into(), Exit::Status(3)), "{err:?}");
        assert_eq!(fs::read(&kept).unwrap(), b"as it was\n");
        drop(session);
        until("nothing is left of it", || {
            let folder = fs::read_dir(world.run().join("sandboxes")).unwrap();
            (world.sandbox_process().is_none() && folder.count() == 0).then_some(())
        });
        world.verify_audit();
    }
}

/// Everything that a tier has to have was looked for from inside, and what it need not have is told apart.
#[test]
fn what_was_found_from_inside_is_told() {
    for (tier, lacking) in [(Tier::Gvisor, Gate::LANDLOCK), (Tier::Process, Gate::GVISOR)] {
        let mut world = tiers::builder(tier).managed().build();
        let mut session = tiers::open(&world, tier);
        session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
        let found = Some(Gate::all() & !lacking);
        assert_eq!(sandboxes(&world)[0].found, found, "{tier:?}");
        let id = session.opened.sandbox.to_string();
        let shown = world.ctl(&["sandbox", "inspect", &id, "--json"]).json();
        let absent: Vec<&str> = shown["found"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, found)| *found == false)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(absent, Gate(0).lacking(lacking), "{shown}");
        world.kill9();
        world.start();
        assert_eq!(sandboxes(&world)[0].found, found, "a later daemon knows as much");
        drop(session);
    }
}

/// The shipped rules name no tier without a kernel of its own; a profile alone brings nobody there.
#[test]
fn a_tier_that_no_rule_names_is_denied() {
    let world = World::builder().profiles(&tiers::profile(Tier::Process)).build();
    let ran = world.ctl(&["run", "--isolation", "process", "--", "true"]);
    assert_eq!(ran.code, Some(77), "{ran}");
    assert!(ran.err.contains("denied"), "{ran}");
    // Nor is another tier taken instead.
    let ran = world.ctl(&["run", "--", "true"]);
    assert_eq!(ran.code, Some(69), "{ran}");
    assert!(ran.err.contains("tier-missing") && ran.err.contains("process is the profile's"), "{ran}");
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

/// A machine that lacks a tier says what it lacks, and starts nothing in its place.
#[test]
fn a_tier_that_is_not_here_is_refused_with_what_it_lacks() {
    let world = tiers::builder(Tier::Kata).kata(None).build();
    let ran = world.ctl(&["run", "--isolation", "kata", "--", "true"]);
    assert_eq!(ran.code, Some(69), "{ran}");
    assert!(ran.err.contains("tier-missing") && ran.err.contains("closedpawd pin --kata"), "{ran}");
    assert_eq!(world.sandbox_process(), None);
    assert_eq!(world.closedpawd(&["check"]).code, Some(78));
    let doctor = world.ctl(&["doctor", "--json"]).json();
    let of = |what: &str| doctor.as_array().unwrap().iter().find(|one| one["what"] == what).cloned().unwrap();
    assert_eq!((&of("kata")["good"], &of("kata")["needed"]), (&false.into(), &false.into()));
    assert_eq!(of("process")["good"], true);
    world.verify_audit();
}

/// What a virtual machine needs of the host is named one by one, as it is missing here; and a shim that was changed.
#[test]
fn a_machine_that_cannot_run_another_is_told_exactly_why() {
    let mut world = tiers::builder(Tier::Kata).kata(None).stopped().build();
    let shim = world.work().join("containerd-shim-kata-v2");
    fs::copy("/usr/bin/true", &shim).unwrap();
    let pinned = world.closedpawd(&["pin", "--kata", shim.to_str().unwrap()]);
    assert_eq!(pinned.code, Some(0), "{pinned}");
    world.start();
    let needs = ["/dev/kvm", "/dev/vhost-vsock", "/dev/log"];
    let missing = |place: &&str| !Path::new(place).exists();
    let ran = world.ctl(&["run", "--isolation", "kata", "--", "true"]);
    for place in needs {
        assert_eq!(ran.err.contains(place), missing(&place), "{place}: {ran}");
    }
    assert!(!ran.err.contains("closedpawd pin"), "{ran}");
    let expected = if needs.iter().any(missing) { "tier-missing" } else { "sandbox-failed" };
    assert_eq!((ran.code.is_some_and(|code| code > 0), ran.err.contains(expected)), (true, true), "{ran}");
    fs::copy("/usr/bin/false", &shim).unwrap();
    world.restart();
    let ran = world.ctl(&["run", "--isolation", "kata", "--", "true"]);
    assert!(ran.err.contains("tier-missing") && ran.err.contains("is not the pinned one"), "{ran}");
    assert!(ran.err.contains("closedpawd pin --kata"), "{ran}");
    assert_eq!(world.sandbox_process(), None);
    world.verify_audit();
}

/// The same for a tier whose program somebody took away.
#[test]
fn a_tier_without_its_program_is_refused_by_name() {
    let world = tiers::builder(Tier::Process).program("closedpaw-process", None).build();
    let ran = world.ctl(&["run", "--isolation", "process", "--", "true"]);
    assert_eq!(ran.code, Some(69), "{ran}");
    assert!(ran.err.contains("tier-missing") && ran.err.contains("closedpaw-process is missing"), "{ran}");
    assert_eq!(world.closedpawd(&["check"]).code, Some(78));
    world.verify_audit();
}

/// The negative control of the start gate: everything answers as it should, but init stands on the bare host.
#[test]
fn a_maker_that_isolates_nothing_fails_the_gate() {
    let folder = std::env::temp_dir().join(format!("closedpaw-test-maker-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let maker = folder.join("maker");
    fs::write(
        &maker,
        "#!/bin/sh\nexec 3<&0\n\"$1/closedpaw/init\" serve \"$4\" \"$5\" <&3 &\necho $! >\"$2\"\n",
    )
    .unwrap();
    let world = tiers::builder(Tier::Process).program("closedpaw-process", Some(&maker)).build();
    fs::remove_dir_all(&folder).unwrap();
    let ran = world.ctl(&["run", "--isolation", "process", "--", "cat", "/etc/hostname"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{ran}");
    for finding in
        ["gate-failed", "id-map", "read-only-root", "mounts", "own-processes", "capabilities", "seccomp"]
    {
        assert!(ran.err.contains(finding), "{finding}: {ran}");
    }
    assert!(!ran.err.contains("gvisor"), "this tier has no kernel of its own: {ran}");
    world.verify_audit();
}

/// What an agent signs for another tier than its session's is nothing.
#[test]
fn no_action_changes_its_sessions_tier() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    for other in [Tier::Gvisor, Tier::Kata] {
        let mut action = session.opened.exec(&["true"]);
        action.isolation = other;
        let refused = session.act(&action, None).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TierMissing);
    }
    let agent = fresh_key();
    let mut gvisor = opening(&agent, None);
    gvisor.isolation = Tier::Gvisor;
    let refused = world.raw().open(&world.person.key(), &gvisor, None).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TierMissing);
    drop(session);
    world.verify_audit();
}

/// Input, output and exit status of a command go on without a daemon.
#[test]
fn a_sandbox_outlives_a_killed_daemon_in_every_tier() {
    for tier in tiers::here() {
        let mut world = tiers::builder(tier).managed().build();
        world.write_policy("50-tee.toml", echo::RULE);
        let mut echo = Echo::with(&world.person, &["--isolation", tier.name()]);
        world.kill9();
        echo.says("without a daemon");
        world.start();
        echo.says("after");
        echo.end_input();
        assert_eq!(echo.ended().code(), Some(0), "{}", world.daemon_log());
        until("the store has nothing left of it", || world.manager().stored().is_empty().then_some(()));
        until("nothing is left of it", || {
            (fs::read_dir(world.run().join("sandboxes")).unwrap().count() == 0).then_some(())
        });
        world.verify_audit();
    }
}

/// A daemon that is killed where nobody keeps anything for it: its sandboxes end, and the next one clears up.
#[test]
fn a_daemon_without_a_manager_leaves_no_sandbox_of_namespaces() {
    let mut world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let running = session.approved(&world.person, &["sleep", "1000"]);
    let init = world.sandbox_process().unwrap();
    world.kill9();
    until("init ends, and all with it", || (!Path::new(&format!("/proc/{init}")).exists()).then_some(()));
    drop((running, session));
    world.start();
    until("what was left is forgotten", || {
        (fs::read_dir(world.run().join("sandboxes")).unwrap().count() == 0).then_some(())
    });
    world.verify_audit();
}

/// No process of it is in a namespace of the host's, and all of these are the host's own: nobody inside holds power over one.
#[test]
fn a_sandbox_of_namespaces_has_seven_of_its_own() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    let init = world.sandbox_process().unwrap();
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let [inside, outside] = [init.to_string(), "self".to_owned()]
            .map(|id| fs::read_link(format!("/proc/{id}/ns/{kind}")).unwrap());
        assert_ne!(inside, outside, "{kind}");
    }
    assert_eq!(field(init, "NoNewPrivs:").trim(), "1");
    assert_eq!(field(init, "Seccomp:").trim(), "2");
    // setgid, setuid, kill (capabilities(7)), and never another.
    assert_eq!(field(init, "CapBnd:").trim(), "00000000000000e0");
    assert_eq!(field(init, "CapPrm:").trim(), "00000000000000e0");
    let mounts = fs::read_to_string(format!("/proc/{init}/mounts")).unwrap();
    let may_write: Vec<&str> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields[3].split(',').any(|option| option == "rw") && !fields[1].starts_with("/dev/"))
        .map(|fields| fields[1])
        .collect();
    assert_eq!(may_write, ["/proc", "/tmp", "/workspace"], "{mounts}");
    for line in mounts.lines() {
        assert!(line.contains("nosuid"), "{line}");
    }
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(sockets.lines().count() > 1);
    for descriptor in fs::read_dir(format!("/proc/{init}/fd")).unwrap().flatten() {
        let leads = fs::read_link(descriptor.path()).unwrap();
        let leads = leads.to_string_lossy();
        // A socket is of a pair of its own: one of the host's would be on this list.
        let own = |socket: &str| {
            sockets.lines().all(|line| !line.contains(&format!(" {socket} ")) && !line.ends_with(socket))
        };
        let harmless = leads.strip_prefix("socket:[").is_some_and(|socket| own(socket.trim_end_matches(']')));
        assert!(
            leads == "/dev/null"
                || leads.starts_with("pipe:")
                || leads.starts_with("anon_inode:")
                || harmless,
            "{leads}"
        );
    }
    drop(session);
    world.verify_audit();
}

/// The host has programs that look at crashes (core(5)), and a limit of 1 is the only one at which the kernel starts none.
#[test]
fn no_crash_inside_starts_a_program_of_the_hosts() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    let script = "import resource
print(open('/proc/self/limits').read())
for limit in [(0, 0), (0, 1), (1, 1)]:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, limit)
        print('changed')
    except ValueError:
        print('refused')
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
";
    world.person.write("limits.py", script.as_bytes());
    let said = says(&world, &mut session, &["python3", "limits.py"]);
    let cores = said.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).collect::<Vec<_>>(), ["1", "1", "bytes"]);
    assert_eq!(said.lines().rev().take(3).collect::<Vec<_>>(), ["refused"; 3]);
    drop(session);
    world.verify_audit();
}

/// A fork bomb, without a controller on the host that would stop it: the workload's processes are counted in its own namespace.
#[test]
fn processes_are_bounded_without_a_controller() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    let running = closedpaw_tests::probe::start(&world, &mut session, &["forks"]);
    let (out, _, _) = running.finish();
    let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(found["end"], "errno:EAGAIN", "{found}");
    assert!(found["forked"].as_u64().unwrap() <= 512, "{found}");
    drop(session);
    world.verify_audit();
}

/// Only Unix sockets, and what is below: an address family may know no network namespace.
#[test]
fn a_sandbox_on_the_hosts_kernel_has_no_other_sockets() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    let script = "import socket
for family in list(range(0, 46)):
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind, 0).close()
            print(family)
        except OSError as error:
            assert error.errno in (1, 22, 94) if family == 1 else error.errno == 1, (family, error)
";
    world.person.write("sockets.py", script.as_bytes());
    let said = says(&world, &mut session, &["python3", "sockets.py"]);
    let mut families: Vec<&str> = said.lines().collect();
    families.dedup();
    assert_eq!(families, ["1"]);
    drop(session);
    world.verify_audit();
}

/// What the domain forbids and nothing else here would: a process's own notes, and another workload's processes.
#[test]
fn workloads_are_in_landlock_domains_of_their_own() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    let sleeper = {
        let mut running = session.approved(&world.person, &["sleep", "1000"]);
        running.order().unwrap();
        running
    };
    let script = "import os
for place in ('/proc/self/comm', '/proc/self/oom_score_adj'):
    try:
        os.close(os.open(place, os.O_WRONLY)); print('written')
    except PermissionError:
        print('refused')
others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]
assert others, 'the other workload is there'
for process in others:
    try:
        os.kill(int(process), 0); print('signalled')
    except PermissionError:
        print('refused')
os.rename('/workspace/a', '/workspace/b/a'); os.mkfifo('/tmp/fifo'); os.symlink('x', '/tmp/link')
os.kill(os.fork() or os._exit(0) or 0, 0)
open('/dev/null', 'w').close()
";
    world.person.write("a", b"a");
    fs::create_dir(world.person.workspace.join("b")).unwrap();
    std::os::unix::fs::chown(
        world.person.workspace.join("b"),
        Some(world.person.uid),
        Some(world.person.gid),
    )
    .unwrap();
    world.person.write("domain.py", script.as_bytes());
    let said = says(&world, &mut session, &["python3", "domain.py"]);
    assert!(said.lines().count() >= 3 && said.lines().all(|line| line == "refused"), "{said}");
    drop((sleeper, session));
    world.verify_audit();
}

/// The list of attempts with what is on this host to be reached, for the program that makes them.
fn host(world: &World, neighbour: (&Path, u32), port: u16, name: &str) -> Vec<String> {
    let disks = fs::read_to_string("/proc/partitions").unwrap();
    let disk: Vec<&str> = disks.lines().nth(2).unwrap().split_whitespace().collect();
    let device = fs::metadata(format!("/dev/{}", disk[3])).map_or(0, |found| found.rdev());
    let home = world.other.home.join("secret");
    fs::write(&home, "another's").unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o600)).unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    vec![
        format!("kernel={}", release.trim()),
        format!("uptime={}", uptime.split('.').next().unwrap()),
        format!("key={}", world.root().join("var/lib/closedpaw/daemon.key").display()),
        format!("log={}", world.audit_file().display()),
        format!("home={}", home.display()),
        format!("keys={}", world.etc().join("keys.d").display()),
        format!("socket={}", world.socket().display()),
        format!("port=127.0.0.1:{port}"),
        format!("abstract={name}"),
        format!("neighbour={}", neighbour.0.join("pid").display()),
        format!("neighbour-process={}", neighbour.1),
        format!("daemon={}", world.daemon_pid()),
        format!("disk=/dev/{}", disk[3]),
        format!("device={device}"),
    ]
}

/// What came of each attempt in a tier, in the words of the tables in docs/ISOLATION.md.
fn attempts(tier: Tier) -> Vec<(String, &'static str)> {
    let world = tiers::world(tier);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let name = format!("closedpaw-test-breakout-{port}");
    let _listens = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // Another sandbox of the same person's, as much another's as can be.
    let mut neighbour = tiers::open(&world, tier);
    neighbour.act(&neighbour.opened.exec(&["true"]), None).unwrap().running().finish();
    let folder = world.run().join("sandboxes").join(neighbour.opened.sandbox.to_string());
    let process = fs::read_to_string(folder.join("pid")).unwrap().trim().parse().unwrap();
    let host = host(&world, (&folder, process), port, &name);
    let program = world.person.workspace.join("breakout");
    fs::copy(env!("CARGO_BIN_EXE_breakout"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut session = tiers::open(&world, tier);
    let mut said = String::new();
    for list in [None, Some("shared")] {
        let words = ["./breakout"].into_iter().chain(list).chain(host.iter().map(String::as_str));
        said += &says(&world, &mut session, &words.collect::<Vec<_>>());
    }
    drop((session, neighbour));
    world.verify_audit();
    said.lines()
        .map(|line| {
            let (attempt, outcome) = line.split_once(' ').unwrap();
            (attempt.replace('-', " "), cell(outcome))
        })
        .collect()
}

fn cell(outcome: &str) -> &'static str {
    let Some(why) = outcome.strip_prefix("stopped ") else { return "**reached**" };
    let why = why.split(" (os error").next().unwrap_or(why).rsplit(": ").next().unwrap_or(why);
    match why {
        "No such file or directory" | "No such process" | "empty" => "not there",
        "Connection refused" | "Address family not supported by protocol" | "Network is unreachable" => {
            "no network"
        }
        "Permission denied" | "Operation not permitted" | "EPERM" => "refused",
        "Read-only file system" => "read-only",
        _ => "own kernel",
    }
}

/// The cell of a tier that the machine with the table has not got.
const NOT_RUN: &str = "not run";

/// Row S3, in every tier: nothing that belongs to somebody else is reached. What a tier shares with the host is in the same
/// table, and stands in the documentation as it was found: with `CLOSEDPAW_TEST_UPDATE` this writes it there.
#[test]
fn what_each_tier_stops_is_what_the_documentation_says() {
    let found: BTreeMap<Tier, Vec<(String, &str)>> =
        tiers::here().into_iter().map(|tier| (tier, attempts(tier))).collect();
    let shared = ["see the hosts kernel", "see how long the host is up"];
    let mut table = String::from("| attempt | `gvisor` | `process` | `kata` |\n|---|---|---|---|\n");
    for (number, (attempt, gvisor)) in found[&Tier::Gvisor].iter().enumerate() {
        let (same, process) = &found[&Tier::Process][number];
        let kata = found.get(&Tier::Kata).map_or(NOT_RUN, |column| column[number].1);
        assert_eq!(attempt, same);
        table += &format!("| {attempt} | {gvisor} | {process} | {kata} |\n");
        assert!(![*gvisor, kata].contains(&"**reached**"), "{attempt}");
        assert_eq!(*process == "**reached**", shared.contains(&attempt.as_str()), "{attempt}: {process}");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ISOLATION.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- tiers:begin -->\n").unwrap();
    let (written, after) = rest.split_once("<!-- tiers:end -->").unwrap();
    if std::env::var_os("CLOSEDPAW_TEST_UPDATE").is_some() {
        let new = format!("{before}<!-- tiers:begin -->\n{table}<!-- tiers:end -->{after}");
        return File::create(&page).unwrap().write_all(new.as_bytes()).unwrap();
    }
    // A machine that cannot run a tier has nothing to say about its column.
    let known = |table: &str| match tiers::kata() {
        Ok(_) => table.to_owned(),
        Err(_) => table
            .lines()
            .filter_map(|line| line.rsplit_once(" | "))
            .map(|(line, _)| line.to_owned() + "\n")
            .collect(),
    };
    if let Err(why) = tiers::kata() {
        eprintln!("kata: not on this machine: {why}");
    }
    assert_eq!(known(written), known(&table), "CLOSEDPAW_TEST_UPDATE=1 writes what was found");
}

/// A sandbox whose process is killed is reported, and the next one works.
#[test]
fn a_killed_sandbox_is_reported_in_every_tier() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        world.person.write("log", b"first line\n");
        let run = ["run", "--isolation", tier.name(), "--"];
        let mut command = world.person.ctl_command(&[&run[..], &["tail", "-f", "log"]].concat());
        let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let sandbox = world.sandbox_process().unwrap().to_string();
        assert!(Command::new("kill").args(["-KILL", &sandbox]).status().unwrap().success());
        let output = client.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(70), "{err}");
        assert!(err.contains("sandbox-gone"), "{err}");
        assert_eq!(world.ctl(&[&run[..], &["true"]].concat()).code, Some(0));
        world.verify_audit();
    }
}

/// What the workload is told of itself is what the host sees: the person, and nobody's root.
#[test]
fn what_is_written_in_any_tier_is_the_persons() {
    for tier in tiers::here() {
        let world = tiers::world(tier);
        let mut session = tiers::open(&world, tier);
        let found = probe(&world, &mut session, &["write", "/workspace/made"]);
        assert_eq!(found["/workspace/made"], "ok");
        let id = session.opened.sandbox.to_string();
        // The layer is mounted where the daemon sees it, and nobody else does.
        let merged = format!(
            "/proc/{}/root{}",
            world.daemon_pid(),
            world.run().join("sandboxes").join(id).join("merged/made").display()
        );
        let made = fs::metadata(merged).unwrap();
        assert_eq!((made.uid(), made.gid()), (world.person.uid, world.person.gid));
        drop(session);
        world.verify_audit();
    }
}
