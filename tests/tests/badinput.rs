//! What people, disks and servers get wrong: a clear word, a stable exit status, and nothing done.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_tests::scripted::{Call, Fault, Format, Say, Script, Server, Turn};
use closedpaw_tests::world::{Ran, World, interrupt, prefix, until};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[track_caller]
fn ends(ran: &Ran, status: i32, word: &str) {
    assert_eq!(ran.code, Some(status), "{word}: {ran}");
    assert!(ran.err.contains(word), "{word}: {ran}");
}

// ---- Policy ------------------------------------------------------------------------------------------------------

/// The third line's key is misspelt, from its first column on.
const BROKEN: &str = "version = 1\n[[rule]]\nnam = \"x\"\nallow = [\"exec\"]\n";

#[test]
fn a_broken_policy_is_named_by_file_line_and_column() {
    let world = World::builder().stopped().build();
    world.put_policy("99-broken.toml", BROKEN);
    for ran in [world.ctl(&["policy", "check", world.etc().to_str().unwrap()]), world.closedpawd(&["check"])]
    {
        assert_eq!(ran.code, Some(78), "{ran}");
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("99-broken.toml:3:1"), "{ran}");
        // And what was probably meant.
        assert!(said.contains("name"), "{ran}");
    }
}

#[test]
fn a_daemon_does_not_start_on_a_broken_policy() {
    let mut world = World::builder().stopped().build();
    world.put_policy("99-broken.toml", BROKEN);
    let status = world.try_start().expect_err("it must not serve");
    assert_eq!(status.code(), Some(78), "{}", world.daemon_log());
    assert!(world.daemon_log().contains("99-broken.toml:3:1"), "{}", world.daemon_log());
}

#[test]
fn the_policy_in_force_stays_when_a_new_one_is_broken() {
    let world = World::new();
    let before = world.ctl(&["status", "--json"]).json();
    world.put_policy("99-broken.toml", BROKEN);
    let after = until("the error is known", || {
        let status = world.ctl(&["status", "--json"]).json();
        (!status["policy_error"].is_null()).then_some(status)
    });
    assert!(after["policy_error"].as_str().unwrap().contains("99-broken.toml:3:1"), "{after}");
    assert_eq!(after["revision"], before["revision"]);
    assert!(world.ctl(&["status"]).out.contains("99-broken.toml:3:1"));
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    fs::remove_file(world.etc().join("policy.d/99-broken.toml")).unwrap();
    until("it is forgotten once it is corrected", || {
        world.ctl(&["status", "--json"]).json()["policy_error"].is_null().then_some(())
    });
    world.verify_audit();
}

// ---- Folders, profiles, keys -------------------------------------------------------------------------------------

#[test]
fn what_is_no_folder_of_ones_own_is_no_workspace() {
    let world = World::new();
    let link = world.person.workspace.join("link");
    std::os::unix::fs::symlink("/usr", &link).unwrap();
    let home = passwd_home(&world.person.name);
    for (folder, status, word) in [
        ("/", 77, "workspace-forbidden"),
        ("/home", 77, "workspace-forbidden"),
        ("/usr", 77, "workspace-forbidden"),
        ("/etc", 77, "workspace-forbidden"),
        ("/tmp", 77, "workspace-forbidden"),
        ("/proc/self/task", 77, "workspace-forbidden"),
        ("/proc/self/fd", 77, "workspace-forbidden"),
        ("/dev", 77, "workspace-forbidden"),
        (home.as_str(), 77, "workspace-forbidden"),
        (world.person.home.to_str().unwrap(), 77, "workspace-forbidden"),
        (world.work().to_str().unwrap(), 77, "workspace-forbidden"),
        (world.other.workspace.to_str().unwrap(), 77, "workspace-forbidden"),
        (link.to_str().unwrap(), 77, "workspace-forbidden"),
        ("/nowhere/at/all", 66, "workspace-missing"),
    ] {
        let ran = world.ctl(&["run", "--workspace", folder, "--", "true"]);
        assert_eq!(ran.code, Some(status), "{folder}: {ran}");
        assert!(ran.err.contains(word), "{folder}: {ran}");
    }
    let file = world.person.write("file", b"no folder");
    let ran = world.ctl(&["run", "--workspace", file.to_str().unwrap(), "--", "true"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(66), ""), "{ran}");
    assert!(world.records().work().is_empty());
    world.verify_audit();
}

/// The home folder the system knows (passwd(5)), made if this machine has none.
fn passwd_home(user: &str) -> String {
    let output = Command::new("getent").args(["passwd", user]).output().unwrap();
    let home = String::from_utf8(output.stdout).unwrap().split(':').nth(5).unwrap().to_owned();
    assert!(fs::metadata(&home).is_ok_and(|folder| folder.is_dir()), "{home} is missing");
    home
}

#[test]
fn an_unknown_profile_is_refused() {
    let world = World::new();
    ends(&world.ctl(&["run", "--profile", "no-such", "--", "true"]), 78, "unknown-profile");
    world.verify_audit();
}

/// A profile that requires a limit which this host cannot give; where it can, it starts.
#[test]
fn a_required_limit_is_given_or_nothing_starts() {
    let profile = "version = 1\n[[profile]]\nname = \"default\"\nisolation = \"gvisor\"\nrequire = [\"memory\", \"pids\"]\n\
                   mounts = { workspace = \"layer\" }\n[profile.limits]\nmemory = \"1GiB\"\npids = 512\ncpu = 200\n\
                   seconds = 60\noutput = \"1MiB\"\nfiles = 1024\ntmp = \"16MiB\"\nlayer = \"16MiB\"\n";
    let world = World::builder().profiles(profile).build();
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let given =
        ["memory", "pids"].iter().all(|name| controllers.split_whitespace().any(|found| found == *name));
    let ran = world.ctl(&["run", "--", "true"]);
    if given {
        assert_eq!(ran.code, Some(0), "{ran}");
    } else {
        ends(&ran, 69, "limits-missing");
        assert!(ran.err.contains("memory"), "{ran}");
    }
    world.verify_audit();
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let world = World::new();
    let key = world.person.home.join(".config/closedpaw/approver.key");
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        ends(&world.ctl(&["run", "--", "true"]), 77, "key-open");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.ctl(&["run", "--", "true"]).code, Some(0));
    fs::remove_file(&key).unwrap();
    ends(&world.ctl(&["run", "--", "true"]), 66, "no-key");
}

// ---- Model servers -----------------------------------------------------------------------------------------------

fn asked(world: &World, turns: impl IntoIterator<Item = Turn>) -> Ran {
    let server = Server::start(Script::new(Format::OpenAi, turns)).unwrap();
    world.ctl(&["ask", "What?", "--model-url", &format!("http://127.0.0.1:{}", server.port())])
}

/// Not even reading: nothing was asked of the daemon but a session.
#[track_caller]
fn nothing_ran(world: &World) {
    assert!(world.records().work().is_empty(), "{:?}", world.records().work());
    world.verify_audit();
}

#[test]
fn a_server_that_is_down_is_said_to_be() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = world.ctl(&["ask", "What?", "--model-url", &format!("http://127.0.0.1:{port}")]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{ran}");
    assert!(ran.err.contains(&port.to_string()), "{ran}");
    nothing_ran(&world);
}

#[test]
fn a_server_that_talks_nonsense_is_a_clear_error() {
    let world = World::new();
    for fault in [
        Fault::Garbage,
        Fault::HangUp,
        Fault::NotHttp,
        Fault::Impostor,
        Fault::CutByClose,
        Fault::EndlessLine,
        Fault::EndlessStream,
        Fault::ErrorMidStream("out of memory".into()),
        Fault::Status(400, "no".into()),
    ] {
        let mut script =
            Script::new(Format::OpenAi, [Say::text("an answer of some length").failing(fault.clone())]);
        script.repeat = true;
        let server = Server::start(script).unwrap();
        let ran = world.ctl(&["ask", "What?", "--model-url", &format!("http://127.0.0.1:{}", server.port())]);
        ends(&ran, 69, "no-answer");
    }
    nothing_ran(&world);
}

/// A web page, another protocol, an error, from the first request on.
#[test]
fn what_is_no_model_server_is_not_talked_to() {
    let world = World::new();
    for fault in
        [Fault::NotHttp, Fault::Impostor, Fault::HangUp, Fault::Garbage, Fault::Status(500, "broken".into())]
    {
        let mut script = Script::new(Format::OpenAi, [Say::text("x").into()]);
        script.fault = Some(fault.clone());
        let server = Server::start(script).unwrap();
        let ran = world.ctl(&["ask", "What?", "--model-url", &format!("http://127.0.0.1:{}", server.port())]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{fault:?}: {ran}");
        assert!(server.chats().is_empty(), "{fault:?}");
    }
    nothing_ran(&world);
}

#[test]
fn a_stalled_server_is_left_at_once() {
    let world = World::new();
    let server =
        Server::start(Script::new(Format::OpenAi, [Say::text("a long text").failing(Fault::Stall)])).unwrap();
    let url = format!("http://127.0.0.1:{}", server.port());
    let mut client = world.person.ctl_command(&["ask", "What?", "--model-url", &url]).spawn().unwrap();
    until("the model is asked", || (!server.chats().is_empty()).then_some(()));
    interrupt(&mut client);
    nothing_ran(&world);
}

/// A tool that there is not, and arguments that are none: the model is told, and nothing runs.
#[test]
fn tools_that_make_no_sense_are_not_run() {
    let world = World::new();
    let odd = [
        ("delete_everything", json!({})),
        ("run", json!({})),
        ("run", json!({ "argv": "rm -rf /" })),
        ("run", json!({ "argv": [] })),
        ("read_file", json!({ "path": "../../etc/passwd" })),
        ("write_file", json!({ "path": "/etc/passwd", "content": "x" })),
        ("list_files", json!("text")),
    ];
    for (name, arguments) in odd {
        let call = Say::Calls(vec![Call { name: name.into(), arguments: arguments.clone() }]);
        let ran = asked(&world, [call.into(), Say::text("Never mind.").into()]);
        assert_eq!((ran.code, ran.out.trim()), (Some(0), "Never mind."), "{name} {arguments}: {ran}");
    }
    nothing_ran(&world);
}

/// Half a call is no call.
#[test]
fn a_call_that_is_cut_off_is_not_run() {
    let world = World::new();
    for fault in [Fault::CutByClose, Fault::CutByEnd, Fault::CutByLength, Fault::HugeArguments(2 << 20)] {
        let call = || Say::call("write_file", json!({ "path": "made", "content": "a text of some length" }));
        let mut script = Script::new(Format::OpenAi, [call().failing(fault.clone())]);
        script.repeat = true;
        let server = Server::start(script).unwrap();
        let ran = world.ctl(&["ask", "What?", "--model-url", &format!("http://127.0.0.1:{}", server.port())]);
        ends(&ran, 69, "no-answer");
        assert!(!ran.err.contains("+ made"), "{fault:?}: {ran}");
    }
    nothing_ran(&world);
}

// ---- Weights -----------------------------------------------------------------------------------------------------

/// Something answers on every port where a model server usually is, but none is one; and there are no weights.
#[test]
fn without_any_model_the_remedy_is_named() {
    let world = World::new();
    let ran = world.ctl(&["ask", "What?"]);
    ends(&ran, 69, "closedpawctl model fetch");
    nothing_ran(&world);
}

/// Damaged weights: the right name and size, other bytes.
#[test]
fn weights_with_another_digest_are_not_loaded() {
    let world = World::new();
    let cache = world.person.home.join(".cache/closedpaw/models");
    let made = world.person.become_for(|| fs::create_dir_all(&cache));
    made.unwrap();
    let name = "qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d.gguf";
    let weights = cache.join(name);
    world.person.become_for(|| fs::File::create(&weights).unwrap().set_len(491_400_064)).unwrap();
    let program = prefix().join("libexec/closedpaw/closedpaw-model");
    let sockets = world.person.home.join("sockets");
    world.person.own_folder(&sockets, 0o700);
    for (path, status, word) in
        [(&weights, 65, "weights-digest"), (&cache.join("missing"), 66, "weights-missing")]
    {
        let mut command = world.person.command(&program);
        let output = command
            .arg("--weights")
            .arg(path)
            .arg("--socket")
            .arg(sockets.join("model.sock"))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{err}");
        assert!(err.contains(word), "{err}");
    }
    let ran = world.ctl(&["ask", "What?"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{ran}");
    nothing_ran(&world);
}
