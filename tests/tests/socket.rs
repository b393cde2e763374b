//! Row K7: the socket, whoever is behind it, and the files around it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test that cannot go on fails

use closedpaw_protocol::message::{Hello, Request, Welcome};
use closedpaw_protocol::sign::{self, Context, key_id};
use closedpaw_protocol::{Challenge, ErrorCode, KeyId, VERSION, decode, encode, frame};
use closedpaw_tests::raw::{Raw, fresh_key};
use closedpaw_tests::world::{Person, Ran, World, closedpawd, until};
use ed25519_dalek::SigningKey;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

fn status_at(person: &Person, socket: &Path) -> Ran {
    let mut command = person.ctl_command(&["status"]);
    command.env("CLOSEDPAW_SOCKET", socket).stdin(Stdio::null());
    Ran::to_its_end(command)
}

#[track_caller]
fn is_not_the_daemon(ran: &Ran) {
    assert_eq!(ran.code, Some(76), "{ran}");
    assert!(ran.err.contains("not-the-daemon"), "{ran}");
}

/// A root folder with the real daemon's public key in it, and nothing behind it yet.
fn look_alike(world: &World, root: &Path) -> PathBuf {
    fs::create_dir_all(root.join("etc/closedpaw")).unwrap();
    fs::copy(world.etc().join("daemon.pub"), root.join("etc/closedpaw/daemon.pub")).unwrap();
    root.join("run/closedpaw/closedpawd.sock")
}

/// Row K7: a daemon in somebody's own folder is not talked to, though it listens and would answer.
#[test]
fn a_daemon_in_a_persons_folder_is_not_talked_to() {
    let world = World::new();
    for owner in [&world.person, &world.other] {
        let root = world.work().join(format!("{}-fake", owner.name));
        owner.own_folder(&root, 0o755);
        let socket = look_alike(&world, &root);
        owner.own_folder(&root.join("run"), 0o755);
        owner.own_folder(&root.join("run/closedpaw"), 0o755);
        let listener = owner.become_for(|| UnixListener::bind(&socket)).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
        is_not_the_daemon(&status_at(&world.person, &socket));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody connected");
        // Even when all but the socket itself is root's by now.
        for place in [&root, &root.join("run"), &root.join("run/closedpaw")] {
            chown(place, Some(0), Some(0)).unwrap();
        }
        is_not_the_daemon(&status_at(&world.person, &socket));
        chown(&socket, Some(0), Some(0)).unwrap();
        is_not_the_daemon(&status_at(&world.person, &socket));
        // In all of this it has not been sent a byte: the last one connected, saw who listens, and went.
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
        }
    }
    world.verify_audit();
}

/// Row K7: root's own socket in a folder that others can write to could have been swapped.
#[test]
fn a_socket_in_a_folder_that_others_can_write_to_is_not_dialled() {
    let world = World::new();
    fs::set_permissions(world.run(), Permissions::from_mode(0o777)).unwrap();
    is_not_the_daemon(&world.ctl(&["status"]));
    fs::set_permissions(world.run(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.ctl(&["status"]).code, Some(0));
    world.verify_audit();
}

/// Row K7: links are not followed to a socket, even to the real one.
#[test]
fn a_link_to_the_socket_is_not_followed() {
    let world = World::new();
    let one = look_alike(&world, &world.work().join("one"));
    fs::create_dir_all(one.parent().unwrap()).unwrap();
    symlink(world.socket(), &one).unwrap();
    is_not_the_daemon(&status_at(&world.person, &one));
    let two = look_alike(&world, &world.work().join("two"));
    symlink(world.root().join("run"), world.work().join("two/run")).unwrap();
    is_not_the_daemon(&status_at(&world.person, &two));
    assert_eq!(world.ctl(&["status"]).code, Some(0));
    world.verify_audit();
}

/// Row K7: the key that the daemon is known by is root's to publish.
#[test]
fn a_published_key_that_others_could_have_written_is_not_believed() {
    let world = World::new();
    let published = world.etc().join("daemon.pub");
    chown(&published, Some(world.other.uid), None).unwrap();
    is_not_the_daemon(&world.ctl(&["status"]));
    chown(&published, Some(0), None).unwrap();
    fs::set_permissions(&published, Permissions::from_mode(0o666)).unwrap();
    is_not_the_daemon(&world.ctl(&["status"]));
    fs::set_permissions(&published, Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(world.etc(), Permissions::from_mode(0o777)).unwrap();
    is_not_the_daemon(&world.ctl(&["status"]));
    fs::set_permissions(world.etc(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.ctl(&["status"]).code, Some(0));
    world.verify_audit();
}

/// Answers one connection with the first frame of somebody who is not the daemon; gives what came after the hello.
fn impostor(listener: UnixListener, claims: KeyId, signs: SigningKey) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut header = [0; 4];
        stream.read_exact(&mut header).unwrap();
        let mut body = vec![0; frame::length(header).unwrap()];
        stream.read_exact(&mut body).unwrap();
        let hello: Hello = decode(&body).unwrap();
        let challenge = Challenge([3; 32]);
        let proof = sign::sign(&signs, Context::Daemon, &hello.challenge, 0, &challenge.0);
        let welcome = Welcome { version: VERSION, challenge, key: claims, proof };
        stream.write_all(&frame::wrap(&encode(&welcome).unwrap()).unwrap()).unwrap();
        let mut rest = vec![];
        drop(stream.read_to_end(&mut rest));
        rest
    })
}

/// Row K7: whoever does not hold the key that root published is told nothing, whatever key it claims.
#[test]
fn a_daemon_with_another_key_is_told_nothing() {
    let world = World::builder().stopped().build();
    let real = fresh_key();
    fs::write(world.etc().join("daemon.pub"), format!("{}\n", key_id(&real))).unwrap();
    fs::create_dir_all(world.run()).unwrap();
    let other = fresh_key();
    for (claims, signs) in
        [(key_id(&other), other.clone()), (key_id(&real), other), (key_id(&fresh_key()), real)]
    {
        let listener = UnixListener::bind(world.socket()).unwrap();
        fs::set_permissions(world.socket(), Permissions::from_mode(0o666)).unwrap();
        let fake = impostor(listener, claims, signs);
        is_not_the_daemon(&world.ctl(&["status"]));
        assert_eq!(fake.join().unwrap(), b"", "not one byte was signed for it");
        fs::remove_file(world.socket()).unwrap();
    }
}

/// Row K7: a recorded welcome of the real daemon proves nothing to the next client.
#[test]
fn a_recorded_welcome_proves_nothing() {
    let world = World::new();
    let (mut ours, mut bytes) = (world.person.dial().unwrap(), vec![0; 4]);
    let hello = Hello { version: VERSION, challenge: Challenge([5; 32]) };
    ours.write_all(&frame::wrap(&encode(&hello).unwrap()).unwrap()).unwrap();
    ours.read_exact(&mut bytes).unwrap();
    let length = frame::length(bytes[..4].try_into().unwrap()).unwrap();
    bytes.resize(4 + length, 0);
    ours.read_exact(&mut bytes[4..]).unwrap();
    let place = world.root().join("fake");
    fs::create_dir_all(place.join("etc/closedpaw")).unwrap();
    fs::create_dir_all(place.join("run/closedpaw")).unwrap();
    fs::copy(world.etc().join("daemon.pub"), place.join("etc/closedpaw/daemon.pub")).unwrap();
    let socket = place.join("run/closedpaw/closedpawd.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let player = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&bytes).unwrap();
        let mut all = vec![];
        drop(stream.read_to_end(&mut all));
        all.len()
    });
    is_not_the_daemon(&status_at(&world.person, &socket));
    let hello = 4 + encode(&hello).unwrap().len();
    assert_eq!(player.join().unwrap(), hello, "the client's first frame, and nothing after it");
    world.verify_audit();
}

/// Row K7: a root that somebody else could change is no root.
#[test]
fn a_root_in_a_persons_folder_is_refused() {
    let world = World::builder().stopped().build();
    let open = world.work().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let inner = world.person.workspace.join("root");
    fs::create_dir(&inner).unwrap();
    let link = world.work().join("link");
    symlink(world.root(), &link).unwrap();
    for root in [&world.person.workspace, &inner, &open, &link] {
        for words in [&[][..], &["check"], &["pin", "/usr/bin/true"]] {
            let mut command = Command::new(closedpawd());
            command.arg("--root").arg(root).args(words).stdin(Stdio::null());
            let ran = Ran::to_its_end(command);
            assert_eq!(ran.code, Some(78), "{root:?} {words:?}: {ran}");
            if root != &link {
                let made: Vec<_> =
                    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert!(made.iter().all(|name| name == "root"), "{root:?} now has {made:?}");
            }
        }
    }
}

/// Row K7: who is not in the group does not get as far as a first frame; who is, but has no key, no further.
#[test]
fn strangers_are_not_heard() {
    let world = World::new();
    let mut nobody = world.other.clone();
    (nobody.uid, nobody.gid, nobody.groups) = (65534, 65534, vec![65534]);
    assert_eq!(nobody.dial().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let ran = world.other.ctl(&["status"]);
    assert_eq!(ran.code, Some(66), "{ran}");
    let refusal = world.other.raw().request(&fresh_key(), &Request::Status, &[]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownKey);
    // Not even with a copy of somebody's key.
    let refusal = world.other.raw().request(&world.person.key(), &Request::Status, &[]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::WrongUser);
    until("both in the log", || {
        let records = world.records();
        let noted = |code| records.refused(world.other.uid, code) > 0;
        (noted(ErrorCode::UnknownKey) && noted(ErrorCode::WrongUser)).then_some(())
    });
    world.verify_audit();
}

/// Row K7: 1,000 connections that say nothing are as many as one user may have, nobody else notices, and they end.
#[test]
fn half_open_connections_are_bounded_and_end() {
    let world = World::builder().second_key().build();
    let most = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: most.maximum, ..most }).unwrap();
    let open: Vec<UnixStream> = (0..1000).map(|_| world.person.dial().unwrap()).collect();
    let hangs_up = |mut stream: &UnixStream| stream.read(&mut [0; 1]).is_ok_and(|read| read == 0);
    open.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let kept = until("all but the bound are turned away", || {
        let kept = open.iter().filter(|stream| !hangs_up(stream)).count();
        (kept <= 64).then_some(kept)
    });
    assert!(kept > 0, "a hello would still have been heard");
    let answer = world.other.raw().request(&world.other.key(), &Request::Status, &[]);
    assert!(answer.is_ok(), "the other user: {answer:?}");
    until("the silent ones are ended", || open.iter().all(hangs_up).then_some(()));
    world.status();
    let turned_away = world.records().refused(world.person.uid, ErrorCode::TooManySessions);
    assert!(turned_away > 0, "{}", world.records().tail(9));
    assert!(world.audit_lines().len() < 10, "{}", world.records().tail(20));
    world.verify_audit();
}

/// Row K7: a length is checked before anything is allocated or awaited for it.
#[test]
fn a_huge_frame_ends_the_connection() {
    let mut world = World::new();
    let pid = world.daemon_pid();
    for length in [u32::MAX, 0x7fff_ffff, 64 * 1024 + 1, 0] {
        let mut first = world.person.dial().unwrap();
        first.write_all(&length.to_be_bytes()).unwrap();
        first.set_read_timeout(Some(std::time::Duration::from_secs(4))).unwrap();
        assert_eq!(
            first.read(&mut [0; 1]).expect("ended before the time for a hello is over"),
            0,
            "{length}"
        );
        let mut later = world.raw();
        later.bytes(&length.to_be_bytes()).unwrap();
        assert!(later.receive().is_none(), "{length}");
    }
    assert!(world.is_running());
    assert_eq!(world.daemon_pid(), pid);
    world.status();
    world.verify_audit();
}

/// Row K7: random bytes in place of either frame; the daemon goes on.
#[test]
fn noise_ends_the_connection_and_nothing_else() {
    let mut world = World::new();
    for round in 0..64_u16 {
        let noise: Vec<u8> = fresh_key().to_bytes().repeat(usize::from(round % 7) + 1);
        let length = u32::try_from(noise.len()).unwrap().to_be_bytes();
        let framed = [&length[..], &noise].concat();
        assert!(Raw::begin_with(world.person.dial().unwrap(), &framed).is_none());
        let mut later = world.raw();
        later.bytes(&framed).unwrap();
        assert!(later.receive().is_none());
    }
    assert!(world.is_running());
    world.status();
    world.verify_audit();
}

/// Row K7: nobody but root and the daemon writes where the daemon reads.
#[test]
fn people_cannot_write_where_the_daemon_reads() {
    let world = World::new();
    let places = [
        world.root().to_owned(),
        world.etc(),
        world.etc().join("policy.d"),
        world.etc().join("profiles.d"),
        world.etc().join("keys.d"),
        world.run(),
        world.run().join("sandboxes"),
        world.run().join("runsc"),
        world.root().join("var/lib/closedpaw"),
        world.audit(),
    ];
    for person in [&world.person, &world.other] {
        for place in &places {
            let written = person.become_for(|| fs::write(place.join("evil.toml"), "version = 1"));
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{place:?}");
        }
        for secret in [world.root().join("var/lib/closedpaw/daemon.key"), world.audit_file()] {
            let read = person.become_for(|| fs::read(&secret));
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{secret:?}");
        }
    }
    world.verify_audit();
}

/// Rows K7, P9: a policy file that is not root's alone is not policy, and what is in force stays.
#[test]
fn planted_policy_is_not_taken_up() {
    let world = World::new();
    let before = world.status();
    assert_eq!(before.policy_error, None);
    let evil =
        "version = 1\n[[rule]]\nname = \"everything\"\nallow = [\"exec\"]\nargv = [[\"touch\", \"*\"]]\n";
    let path = world.etc().join("policy.d/evil.toml");
    let elsewhere = world.person.write("evil.toml", evil.as_bytes());
    let roots = world.work().join("evil.toml");
    fs::write(&roots, evil).unwrap();
    type Plant<'a> = &'a dyn Fn();
    let plants: [(&str, Plant<'_>); 4] = [
        ("a person's", &|| {
            fs::write(&path, evil).unwrap();
            chown(&path, Some(world.person.uid), None).unwrap();
        }),
        ("one that everybody may write", &|| {
            fs::write(&path, evil).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }),
        ("a link to a person's", &|| symlink(&elsewhere, &path).unwrap()),
        ("a link to root's", &|| symlink(&roots, &path).unwrap()),
    ];
    for (what, plant) in plants {
        plant();
        let check = world.closedpawd(&["check"]);
        assert_eq!(check.code, Some(78), "{what}: {check}");
        hang_up(&world);
        let error = until("the daemon has looked", || world.status().policy_error);
        assert!(error.contains("evil.toml"), "{what}: {error}");
        assert_eq!(world.status().revision, before.revision, "{what}");
        fs::remove_file(&path).unwrap();
        hang_up(&world);
        until("the daemon has looked again", || world.status().policy_error.is_none().then_some(()));
    }
    assert_eq!(world.closedpawd(&["check"]).code, Some(0));
    assert_eq!(world.status().revision, before.revision);
    world.verify_audit();
}

/// Rows K7, P9: neither is anything policy that lies in a folder which is not root's alone.
#[test]
fn a_policy_folder_that_others_can_write_is_not_taken_up() {
    let world = World::new();
    let before = world.status();
    let folder = world.etc().join("policy.d");
    let evil =
        "version = 1\n[[rule]]\nname = \"everything\"\nallow = [\"exec\"]\nargv = [[\"touch\", \"*\"]]\n";
    type Change<'a> = &'a dyn Fn();
    let changes: [(Change<'_>, Change<'_>); 2] = [
        (&|| fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap(), &|| {
            fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        }),
        (&|| chown(&folder, Some(world.person.uid), None).unwrap(), &|| {
            chown(&folder, Some(0), None).unwrap();
        }),
    ];
    for (open, close) in changes {
        open();
        fs::write(folder.join("evil.toml"), evil).unwrap();
        assert_eq!(world.closedpawd(&["check"]).code, Some(78));
        hang_up(&world);
        let error = until("the daemon has looked", || world.status().policy_error);
        assert!(error.contains(folder.to_str().unwrap()), "{error}");
        assert_eq!(world.status().revision, before.revision);
        fs::remove_file(folder.join("evil.toml")).unwrap();
        close();
        hang_up(&world);
        until("the daemon has looked again", || world.status().policy_error.is_none().then_some(()));
    }
    assert_eq!(world.status().revision, before.revision);
    world.verify_audit();
}

/// `systemctl reload`, which comes when the daemon has said that it is ready; from then on the signal is a message to
/// it (bit 0 of the blocked signals, proc_pid_status(5)) and no end of it.
fn hang_up(world: &World) {
    until("the daemon is ready", || {
        let status = fs::read_to_string(format!("/proc/{}/status", world.daemon_pid())).unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        (u64::from_str_radix(blocked, 16).unwrap() & 1 != 0).then_some(())
    });
    let told = Command::new("kill").args(["-HUP", &world.daemon_pid().to_string()]).status().unwrap();
    assert!(told.success());
}

/// Rows K7, P9: a key file that is not root's alone enrols nobody.
#[test]
fn a_planted_key_does_not_count() {
    let world = World::new();
    let key = fresh_key();
    let ran = world.ctl_as_root(&[
        "key",
        "enroll",
        "--name",
        "evil",
        "--uid",
        &world.other.uid.to_string(),
        "--public",
        &key_id(&key).to_string(),
    ]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let mut other = world.other.raw();
    let mut counts = || other.request(&key, &Request::Status, &[]).is_ok();
    hang_up(&world);
    until("root's key counts", || counts().then_some(()));
    chown(world.etc().join("keys.d/evil.toml"), Some(world.other.uid), None).unwrap();
    hang_up(&world);
    until("somebody's does not", || (!counts()).then_some(()));
    assert_eq!(world.closedpawd(&["check"]).code, Some(78));
    world.verify_audit();
}

/// Rows K6, K7: nobody can keep a new policy or a revoked key from being noticed by knocking all the time.
#[test]
fn a_revoked_key_is_dropped_however_busy_the_socket_is() {
    let world = World::builder().second_key().build();
    let key = world.other.key();
    assert!(world.other.raw().request(&key, &Request::Status, &[]).is_ok());
    let ran = world.ctl_as_root(&["key", "revoke", "--name", "other"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    // Each look is a new connection, many in the time for which the folder has to be quiet.
    until("the key counts no more", || {
        let answer = world.other.raw().request(&key, &Request::Status, &[]);
        answer.is_err_and(|refusal| refusal.code == ErrorCode::UnknownKey).then_some(())
    });
    world.verify_audit();
}

/// Row K7: what was planted among the daemon's own folders is taken away, and links are not followed in doing so.
#[test]
fn planted_state_is_not_followed() {
    let mut world = World::builder().stopped().build();
    let victim = world.work().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("precious"), "kept").unwrap();
    let sandboxes = world.run().join("sandboxes");
    fs::create_dir_all(&sandboxes).unwrap();
    symlink(&victim, sandboxes.join("0123456789abcdef0123456789abcdef")).unwrap();
    symlink(victim.join("precious"), sandboxes.join("link")).unwrap();
    fs::write(sandboxes.join("file"), "x").unwrap();
    world.start();
    assert_eq!(fs::read_to_string(victim.join("precious")).unwrap(), "kept");
    let ran = world.ctl(&["run", "-q", "--", "echo", "hi"]);
    assert_eq!(fs::read_to_string(victim.join("precious")).unwrap(), "kept");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hi\n"), "{ran}");
    world.stop();
    assert_eq!(fs::read_to_string(victim.join("precious")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    world.start();
    world.verify_audit();
}
