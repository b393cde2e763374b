//! A sandbox by way of a containerd shim v2 and without containerd: Debian's real shims, with gVisor behind them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_descriptors::frames::{receive_packet, send_packet};
use closedpaw_descriptors::{packet_pair, stream_pair};
use closedpaw_protocol::relay::{Gate, Grant, RECORD};
use closedpaw_protocol::{Action, Effect, Revision, SessionId, Stdin, Tier};
use closedpaw_tests::hostile::{Work, framed};
use closedpaw_tests::raw::Session;
use closedpaw_tests::shim::{Bundle, FORMS, Form, on_a_machine_for_machines, package, script, shim};
use closedpaw_tests::tiers;
use closedpaw_tests::world::{World, prefix, running_from, until};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The bundle of a sandbox that the daemon has just made, for another way to run it.
fn bundle(world: &World, form: Form) -> Bundle {
    let mut session = Session::open(&world.person);
    session.act(&session.opened.exec(&["true"]), None).unwrap().running().finish();
    Bundle::like(world, &session, form)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A sandbox that a shim has started, with its relay at the other ends of its pipes.
struct Running<'a> {
    bundle: &'a Bundle,
    relay: Child,
    control: OwnedFd,
}

impl<'a> Running<'a> {
    fn start(bundle: &'a Bundle) -> Self {
        let (stdin, to_sandbox) = io::pipe().unwrap();
        let (from_sandbox, stdout) = io::pipe().unwrap();
        let output = bundle.start().stdin(stdin).stdout(stdout).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let (control, theirs) = packet_pair().unwrap();
        // The shell places the descriptors, so that nothing unsafe has to.
        let relay = Command::new("/usr/bin/setpriv")
            .args(["--reuid=1900000779", "--regid=1900000779", "--clear-groups", "/bin/sh", "-c"])
            .arg("exec \"$0\" 3<&0 4>&1 5<&2 0</dev/null 1>/dev/null 2>/dev/null")
            .arg(prefix().join("libexec/closedpaw/closedpaw-relay"))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(OwnedFd::from(to_sandbox)))
            .stderr(Stdio::from(OwnedFd::from(from_sandbox)))
            .spawn()
            .unwrap();
        Self { bundle, relay, control }
    }

    fn record(&self) -> [u8; RECORD] {
        receive_packet::<RECORD>(&self.control).unwrap().expect("a record").0
    }

    /// What a command says, and the five bytes of how it ended.
    fn runs(&self, argv: &[&str]) -> (Vec<u8>, Option<Vec<u8>>) {
        let effect = Effect::Exec {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cwd: "/workspace".to_owned(),
            env: Vec::new(),
            stdin: Stdin::Empty,
        };
        let action = Action {
            session: SessionId([1; 16]),
            revision: Revision([2; 32]),
            isolation: Tier::Kata,
            profile: "default".to_owned(),
            effect,
        };
        let (order, digest) = action.seal().unwrap();
        let (client, theirs) = stream_pair().unwrap();
        let grant = Grant { work: 0, action: digest, seconds: 60, output: 1 << 20, filtered: false };
        send_packet(&self.control, &grant.to_bytes(), &[theirs.as_fd()]).unwrap();
        drop(theirs);
        let mut client = UnixStream::from(client);
        client.write_all(&framed(0, &order)).unwrap();
        Work { client, number: 0, stream: 0 }.told()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.relay.kill();
        let _ = self.relay.wait();
        let _ = self.bundle.delete().output();
    }
}

/// Whether the runtime knows of it, in the folder that the shim gives it.
fn is_known(bundle: &Bundle) -> bool {
    let known = fs::read_dir("/run/containerd/runc/closedpaw").into_iter().flatten().flatten();
    known.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(&bundle.id))
}

/// The socket that a shim has said it listens at.
fn socket(bundle: &Bundle) -> PathBuf {
    let answer = fs::read_to_string(bundle.folder.join("shim-answer")).unwrap();
    let from = answer.find("unix://").unwrap() + "unix://".len();
    answer[from..].split(['"', '\n']).next().unwrap().into()
}

#[track_caller]
fn nothing_is_left(bundle: &Bundle, socket: Option<&Path>) {
    until("its processes have ended", || running_from(&bundle.folder).is_empty().then_some(()));
    assert!(!is_known(bundle));
    assert!(socket.is_none_or(|socket| !socket.exists()), "{socket:?}");
}

/// The whole way by the daemon, with a true shim in the place of Kata's that has no virtual machine behind it: all is as it must be
/// but what gVisor has not got, and that alone keeps the work from running. Whatever passes for Kata has to be one.
#[test]
fn what_is_no_virtual_machine_does_not_pass_for_one() {
    for form in FORMS {
        let mut world = tiers::builder(Tier::Kata).kata(None).stopped().build();
        let kata = world.work().join("containerd-shim-kata-v2");
        shim(&kata, form);
        assert_eq!(world.closedpawd(&["pin", "--kata", kata.to_str().unwrap()]).code, Some(0));
        world.started_by = Some(on_a_machine_for_machines(world.work()));
        world.start();
        let ran = world.ctl(&["run", "--isolation", "kata", "--", "echo", "on"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{ran}");
        assert!(ran.err.contains("gate-failed: found from inside to be missing: landlock\n"), "{ran}");
        until("nothing is left of it", || {
            let folders = fs::read_dir(world.run().join("sandboxes")).unwrap().count();
            (folders == 0 && world.sandbox_process().is_none()).then_some(())
        });
        // What a machine's files are served with, besides the usual twelve.
        let kept = world.daemon_log();
        for capability in ["fsetid", "mknod", "setfcap", "sys_admin"] {
            assert!(kept.contains(&format!(" {capability} ")), "{capability}: {kept}");
        }
        // A shim that fails is told to the person as what it is, and to the journal with the reason.
        script(&kata, "#!/bin/sh\necho 'no machine today' >&2; exit 1\n");
        assert_eq!(world.closedpawd(&["pin", "--kata", kata.to_str().unwrap()]).code, Some(0));
        world.restart();
        let ran = world.ctl(&["run", "--isolation", "kata", "--", "echo", "on"]);
        assert!(ran.code.is_some_and(|code| code > 0) && ran.err.contains("sandbox-failed"), "{ran}");
        assert!(world.daemon_log().contains("the shim's start failed (exit status: 1): no machine today"));
        world.verify_audit();
    }
}

/// The shims are the two that are meant: each form of reply comes from a real one.
#[test]
fn both_forms_of_start_reply_come_from_real_shims() {
    let world = World::new();
    for form in FORMS {
        let bundle = bundle(&world, form);
        let running = Running::start(&bundle);
        let answer = fs::read_to_string(bundle.folder.join("shim-answer")).unwrap();
        assert_eq!(answer.trim_start().starts_with('{'), form == Form::Object, "{answer}");
        drop(running);
    }
}

/// The whole way: the start gate finds from inside what it finds in any gVisor, a command runs as the person, and nothing is left.
#[test]
fn a_sandbox_works_behind_a_shim() {
    let world = World::new();
    world.person.write("kept", b"as it was\n");
    for form in FORMS {
        let bundle = bundle(&world, form);
        let running = Running::start(&bundle);
        let socket = socket(&bundle);
        let gate = running.record();
        let found = u64::from_be_bytes(gate[1..9].try_into().unwrap());
        assert_eq!((gate[0], found), (0, u64::from(Gate::all() & !Gate::LANDLOCK)), "{form:?}");
        let (out, exit) = running.runs(&["sh", "-c", "cat kept; id -u; exit 3"]);
        let expected = format!("as it was\n{}\n", world.person.uid);
        assert_eq!((String::from_utf8(out).unwrap(), exit), (expected, Some(vec![0, 0, 0, 0, 3])));
        assert!(is_known(&bundle) && socket.exists());
        // As the launcher does it: the process first, and then whoever remembers it.
        let process = bundle.process().to_string();
        assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
        let output = bundle.delete().output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        nothing_is_left(&bundle, Some(&socket));
        drop(running);
    }
}

/// The channel is two pipes of the launcher's: when they are closed, init ends, with nobody there to say so.
#[test]
fn a_sandbox_behind_a_shim_ends_with_its_relay() {
    let world = World::new();
    for form in FORMS {
        let bundle = bundle(&world, form);
        let mut running = Running::start(&bundle);
        running.record();
        let process = bundle.process();
        running.relay.kill().unwrap();
        running.relay.wait().unwrap();
        until("init has ended", || {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    }
}

/// Nothing of this daemon's stays beside a shim, which has no network, and of other sandboxes' mounts that alone which it works on.
#[test]
fn a_shim_is_apart_and_alone() {
    let world = World::new();
    let mut bundle = bundle(&world, Form::Object);
    let places =
        ["other/merged", "other/layer", "shared/merged"].map(|name| bundle.folder.with_file_name(name));
    let [other, layer, shared] = &places;
    let own = bundle.folder.join("merged");
    for place in places.iter().chain([&own]) {
        fs::create_dir_all(place).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "closedpaw-test"]).arg(place).status().unwrap();
        assert!(mounted.success());
    }
    bundle.keep = Some(shared.clone());
    let running = Running::start(&bundle);
    let shim = bundle.shim_process();
    for kind in ["mnt", "net"] {
        let [its, ours] = [shim.to_string(), "self".to_owned()]
            .map(|id| fs::read_link(format!("/proc/{id}/ns/{kind}")).unwrap());
        assert_ne!(its, ours, "{kind}");
    }
    let devices = fs::read_to_string(format!("/proc/{shim}/net/dev")).unwrap();
    let devices: Vec<&str> =
        devices.lines().skip(2).filter_map(|line| line.trim().split(':').next()).collect();
    assert_eq!(devices, ["lo"]);
    let [its, ours] = [shim.to_string(), "self".to_owned()]
        .map(|id| fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap());
    let is_in = |table: &str, place: &Path| table.contains(&format!(" {} ", place.display()));
    assert!(is_in(&its, &own) && is_in(&its, shared), "{its}");
    assert!(!is_in(&its, other) && !is_in(&its, layer), "{its}");
    assert!(is_in(&ours, other) && is_in(&ours, layer), "what is taken away there is still here");
    let calls_itself = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("closedpaw-shim")
    };
    let beside: Vec<u32> = running_from(&bundle.folder).into_iter().filter(calls_itself).collect();
    assert!(beside.is_empty(), "{beside:?}");
    drop(running);
    for place in places.iter().chain([&own]) {
        assert!(Command::new("umount").arg(place).status().unwrap().success());
    }
}

/// The sandbox runs on without its shim; whoever ends it has the shim's program clear up.
#[test]
fn a_killed_shim_leaves_nothing() {
    let world = World::new();
    for form in FORMS {
        let bundle = bundle(&world, form);
        let running = Running::start(&bundle);
        running.record();
        let (shim, process, socket) = (bundle.shim_process(), bundle.process(), socket(&bundle));
        assert!(Command::new("kill").args(["-KILL", &shim.to_string()]).status().unwrap().success());
        assert!(Path::new(&format!("/proc/{process}")).exists(), "{form:?}");
        let output = bundle.delete().output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        until("init has ended", || {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        nothing_is_left(&bundle, Some(&socket));
        // And what is gone is no error to whoever comes again.
        assert!(bundle.delete().output().unwrap().status.success());
        drop(running);
    }
}

/// A program that the sandbox has not got: the runtime's own words are in the journal, and nothing is left.
#[test]
fn an_end_while_it_starts_is_told_with_the_reason() {
    let world = World::new();
    for form in FORMS {
        let bundle = bundle(&world, form);
        bundle.runs(&["/not/there"]);
        let output = bundle.start().output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains("the shim refused") && said.contains("/not/there"), "{said}");
        assert!(!bundle.pid_file().exists());
        nothing_is_left(&bundle, Some(&socket(&bundle)));
    }
}

/// Shims that are none. Each leaves a process, as a true one would, and that goes, too.
#[test]
fn what_is_no_shim_is_a_clear_error_and_leaves_nothing() {
    let world = World::new();
    let bundle = bundle(&world, Form::Plain);
    let waits = bundle.folder.join("waits");
    fs::copy("/usr/bin/sleep", &waits).unwrap();
    let left = format!("{} 1000 >/dev/null 2>&1 &", waits.display());
    let starts = format!("[ \"$(eval echo \\${{$#}})\" = start ] || exit 0\n{left}\n");
    for (text, expected) in [
        (format!("{starts}echo yes"), "the shim's start reply is neither"),
        (
            format!("{starts}echo '{{\"version\":9,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}}'"),
            "the shim speaks ttrpc, version 9",
        ),
        (
            format!("{starts}echo '{{\"version\":3,\"address\":\"unix:///a\",\"protocol\":\"grpc\"}}'"),
            "the shim speaks grpc, version 3",
        ),
        (format!("{starts}echo unix:///nobody/listens/here"), "the shim ended: connecting"),
        (
            format!("{starts}echo 'no \u{1b}[31mdisk' >&2; exit 7"),
            "the shim's start failed (exit status: 7): no \\u{1b}[31mdisk",
        ),
        ("echo unix:///nobody".to_owned(), "it left no process behind"),
    ] {
        script(&bundle.shim, &format!("#!/bin/sh\n{text}\n"));
        let output = bundle.start().output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!bundle.pid_file().exists());
        nothing_is_left(&bundle, None);
    }
    fs::remove_file(&bundle.shim).unwrap();
    let output = bundle.start().output().unwrap();
    assert!(said(&output).contains("starting the shim's program: No such file"), "{}", said(&output));
}

/// One that listens and never answers, and one that never even says where: both have a limit.
#[test]
fn a_shim_that_never_answers_is_ended_in_time() {
    let world = World::new();
    let bundle = bundle(&world, Form::Plain);
    let silent = "import os, socket, sys, time
place = sys.argv[1] + '/silent'
listener = socket.socket(socket.AF_UNIX)
listener.bind(place)
listener.listen()
if os.fork():
    print('unix://' + place)
else:
    os.close(1)
    time.sleep(1000)
";
    fs::write(bundle.folder.join("silent.py"), silent).unwrap();
    let listens = format!("/usr/bin/python3 {0}/silent.py {0}", bundle.folder.display());
    for (text, expected) in [
        (
            format!("[ \"$(eval echo \\${{$#}})\" = start ] || exit 0\n{listens}"),
            "did not answer within 1 s: Create",
        ),
        (
            format!("cp /usr/bin/sleep {0}/waits; exec {0}/waits 1000", bundle.folder.display()),
            "did not answer within 1 s: start",
        ),
    ] {
        script(&bundle.shim, &format!("#!/bin/sh\n{text}\n"));
        let began = Instant::now();
        let output = bundle.start().args(["--seconds", "1"]).output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert!(said(&output).contains(expected), "{}", said(&output));
        let socket = bundle.folder.join("silent");
        nothing_is_left(&bundle, Some(&socket));
    }
}

/// A start that goes on while somebody wants the sandbox gone: it is whole first, and then gone.
#[test]
fn an_end_waits_for_the_start() {
    let world = World::new();
    let bundle = bundle(&world, Form::Object);
    let (stdin, _to_sandbox) = io::pipe().unwrap();
    let mut starting = bundle.start().stdin(stdin).spawn().unwrap();
    until("it has begun", || bundle.folder.join("shim-answer").exists().then_some(()));
    let output = bundle.delete().output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mut why = String::new();
    starting.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(starting.wait().unwrap().success(), "{why}");
    nothing_is_left(&bundle, Some(&socket(&bundle)));
}

/// What a test would not notice by itself: that the packages are not the ones that are meant.
#[test]
fn the_shims_are_of_two_generations() {
    for (form, version) in [(Form::Plain, " 1."), (Form::Object, " 2.")] {
        let output = Command::new(package(form).join("containerd-shim-runc-v2")).arg("-v").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.lines().any(|line| line.contains("Version:") && line.contains(version)), "{said}");
    }
}
