//! Images: added, run on, shared, taken away; and those that were made to do harm.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::stream::Exit;
use closedpaw_protocol::{ErrorCode, Tier};
use closedpaw_tests::image::{Image, Layout, tar, tiny_root};
use closedpaw_tests::raw::Session;
use closedpaw_tests::tiers;
use closedpaw_tests::world::{Ran, World, field, until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn image(world: &World, words: &[&str]) -> Ran {
    world.closedpawd(&[&["image"], words].concat())
}

fn store(world: &World) -> PathBuf {
    world.root().join("var/lib/closedpaw-images")
}

fn within(world: &World, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(store(world).join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Three layers: a small root, something over it, and what hides a part of it.
fn example(world: &World, name: &str) -> Image {
    let work = world.work().join(name);
    let [first, second] = ["first", "second"].map(|layer| work.join(layer));
    let first = tiny_root(&first);
    fs::create_dir_all(second.join("opt")).unwrap();
    fs::create_dir_all(second.join("etc")).unwrap();
    fs::write(second.join("opt").join(name), name).unwrap();
    fs::write(second.join("etc/.wh.hidden"), "").unwrap();
    Layout::new(&work.join("layout")).layer(&first, true).layer(&tar(&second), false).finish()
}

fn add(world: &World, image_folder: &Path, name: &str) -> String {
    let ran = image(world, &["add", image_folder.to_str().unwrap(), "--name", name]);
    assert_eq!(ran.code, Some(0), "{ran}");
    ran.out.lines().next().unwrap().to_owned()
}

fn profile(tier: Tier, pinned: &str) -> String {
    tiers::profile(tier).replace("isolation =", &format!("image = \"{pinned}\"\nisolation ="))
}

/// A world whose profile names an image that is there.
fn world_on(tier: Tier) -> (World, Image) {
    let mut world = tiers::builder(tier).stopped().build();
    let example = example(&world, "example");
    assert_eq!(add(&world, &example.folder, "example"), example.digest);
    let profiles = world.etc().join("profiles.d");
    fs::read_dir(&profiles).unwrap().flatten().for_each(|entry| fs::remove_file(entry.path()).unwrap());
    fs::write(profiles.join("test.toml"), profile(tier, &format!("example@{}", example.digest))).unwrap();
    world.start();
    (world, example)
}

#[track_caller]
fn says(world: &World, session: &mut Session, script: &str) -> String {
    let (out, err, exit) = session.approved(&world.person, &["sh", "-c", script]).finish();
    assert_eq!(exit, Exit::Status(0), "{}", String::from_utf8_lossy(&err));
    String::from_utf8(out).unwrap()
}

/// What is in the image is there, what is the host's is not, nothing of it can be changed, and the person has a name.
#[test]
fn work_is_done_on_an_image_in_every_tier() {
    for tier in TIERS {
        let (world, _) = world_on(tier);
        let run = ["run", "--isolation", tier.name(), "--"];
        let ran = world.ctl(&[&run[..], &["cat", "/etc/image-says", "/opt/example"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello\nexample"), "{ran}");
        let mut session = tiers::open(&world, tier);
        let script = "ls -d /usr/bin /usr/lib /etc/hidden /etc/.wh.hidden /etc/ld.so.cache 2>/dev/null; ls / | sort;
            for place in / /bin /etc /usr /opt; do touch $place/x 2>/dev/null && echo written $place; done
            echo x > /bin/busybox; id -un; stat -c '%u %a' /bin/busybox; echo mine > /workspace/y; echo $?; cat /workspace/y";
        let said = says(&world, &mut session, script);
        let expected = "a-file-at-the-top\nbin\nclosedpaw\ndev\netc\nopt\nproc\nsys\ntmp\nusr\nworkspace\nperson\n65534 755\n0\nmine\n";
        assert_eq!(said, expected, "{tier:?}");
        let mounts = says(&world, &mut session, "cat /proc/self/mounts");
        assert!(!mounts.lines().any(|line| line.split(' ').nth(1) == Some("/usr")), "{mounts}");
        drop(session);
        world.verify_audit();
    }
}

/// Those that go on need nothing of an ended daemon's, and the next one puts others on the same image.
#[test]
fn a_restart_takes_back_what_runs_on_an_image() {
    for tier in TIERS {
        let (mut world, example) = {
            let mut world = tiers::builder(tier).managed().stopped().build();
            let example = example(&world, "example");
            add(&world, &example.folder, "example");
            let pinned = format!("example@{}", example.digest);
            let profiles = world.etc().join("profiles.d");
            fs::read_dir(&profiles)
                .unwrap()
                .flatten()
                .for_each(|entry| fs::remove_file(entry.path()).unwrap());
            fs::write(profiles.join("test.toml"), profile(tier, &pinned)).unwrap();
            world.start();
            (world, example)
        };
        let mut session = tiers::open(&world, tier);
        assert_eq!(says(&world, &mut session, "cat /etc/image-says"), "hello\n");
        // Its relay, its process, its memory, its socket, its workspace: what it lives on without a daemon.
        until("the store has all of it", || (world.manager().stored().len() == 5).then_some(()));
        world.kill9();
        world.start();
        let used = image(&world, &["rm", "example"]);
        assert_eq!(used.code, Some(75), "{used}");
        let run = ["run", "--isolation", tier.name(), "--", "cat", "/etc/image-says"];
        let ran = world.ctl(&run);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "hello\n"), "{ran}");
        let listed = image(&world, &["list", "--json"]).json();
        assert_eq!(listed[0]["digest"], example.digest);
        let sandbox: String = session.opened.sandbox.to_string().chars().take(8).collect();
        assert!(listed[0]["users"].to_string().contains(&sandbox), "{listed}");
        drop(session);
    }
}

/// Commands that have a sandbox each have it on the image that their session began on, or have none.
#[test]
fn commands_apart_run_on_their_sessions_image() {
    let mut world = World::builder().stopped().build();
    let example = example(&world, "example");
    add(&world, &example.folder, "example");
    let place = world.etc().join("profiles.d/default.toml");
    let apart = |tier: &str| tier.replace("isolation =", "commands = \"apart\"\npool = 0\nisolation =");
    fs::write(&place, apart(&profile(Tier::Gvisor, &format!("example@{}", example.digest)))).unwrap();
    world.start();
    let mut session = tiers::open(&world, Tier::Gvisor);
    for _ in 0..2 {
        assert_eq!(says(&world, &mut session, "cat /etc/image-says; echo x >> y"), "hello\n");
    }
    assert_eq!(says(&world, &mut session, "cat y"), "x\nx\n");
    // The session's own sandbox is on the image still, and nothing of it may be shared with one that is not.
    let before = world.status().revision;
    fs::write(&place, apart(&tiers::profile(Tier::Gvisor))).unwrap();
    until("the profile counts", || (world.status().revision != before).then_some(()));
    let mut exec = session.opened.exec(&["cat", "/etc/hostname"]);
    exec.revision = world.status().revision;
    let refused = session.act(&exec, None).map(drop).unwrap_err();
    assert_eq!(refused.code, ErrorCode::SandboxFailed);
    assert!(world.daemon_log().contains("runs on another image"));
    drop(session);
    world.verify_audit();
}

/// Never another root filesystem than was asked for.
#[test]
fn an_image_that_is_missing_is_an_error_that_names_it() {
    let pinned = format!("absent@sha256:{}", "5a".repeat(32));
    let world = World::builder().profiles(&profile(Tier::Gvisor, &pinned)).build();
    let ran = world.ctl(&["run", "--", "cat", "/etc/hostname"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""), "{ran}");
    assert!(ran.err.contains("image-missing") && ran.err.contains(&pinned), "{ran}");
    assert!(ran.err.contains("closedpawd image add"), "{ran}");
    assert!(world.sandbox_process().is_none());
    let check = world.closedpawd(&["check"]);
    assert_eq!(check.code, Some(78));
    assert!(check.err.contains(&pinned), "{check}");
    world.verify_audit();
}

#[test]
fn two_images_share_a_layer_and_each_goes_with_the_last_that_has_it() {
    let world = World::builder().stopped().build();
    let [one, two] = ["one", "two"].map(|name| example(&world, name));
    assert_eq!(one.blobs[0], two.blobs[0]);
    add(&world, &one.folder, "one");
    let shared = image(&world, &["add", two.folder.to_str().unwrap(), "--name", "two"]);
    assert!(shared.out.contains("1 of them were here"), "{shared}");
    assert_eq!((within(&world, "layers").len(), within(&world, "manifests").len()), (3, 2));
    let listed = image(&world, &["list", "--json"]).json();
    let layers = |index: usize| listed[index]["layers"].as_array().unwrap().clone();
    assert_eq!(layers(0)[0], layers(1)[0]);
    assert_ne!(layers(0)[1], layers(1)[1]);
    let said = image(&world, &["list"]);
    assert!(said.out.contains(&one.digest) && said.out.contains("  two"), "{said}");
    assert_eq!(image(&world, &["rm", "one"]).code, Some(0));
    assert_eq!((within(&world, "layers").len(), within(&world, "names")), (2, vec!["two".to_owned()]));
    assert_eq!(image(&world, &["rm", &two.digest]).code, Some(0));
    assert_eq!((within(&world, "layers").len(), within(&world, "manifests").len()), (0, 0));
    assert_eq!(image(&world, &["rm", "two"]).code, Some(66));
}

/// One tar of a layout is the same image, of which everything is there already.
#[test]
fn an_archive_is_what_its_layout_is() {
    let world = World::builder().stopped().build();
    let example = example(&world, "example");
    let archive = tar(&example.folder);
    assert_eq!(add(&world, &archive, "example"), example.digest);
    let layer = |world: &World| {
        within(world, "layers")
            .iter()
            .map(|name| fs::metadata(store(world).join("layers").join(name)).unwrap().ino())
            .collect::<Vec<_>>()
    };
    let before = layer(&world);
    let again = image(&world, &["add", example.folder.to_str().unwrap()]);
    assert!(again.out.contains("2 of them were here"), "{again}");
    assert_eq!(layer(&world), before);
    let gzip = Command::new("gzip").arg("-k").arg(&archive).status().unwrap();
    assert!(gzip.success());
    let refused = image(&world, &["add", &format!("{}.gz", archive.display())]);
    assert!(refused.code == Some(65) && refused.err.contains("compressed"), "{refused}");
}

/// All of the store is root's, and lies where the judge's account can put nothing else in its place.
#[test]
fn the_store_is_roots_alone() {
    let (world, _) = world_on(Tier::Gvisor);
    let found = fs::metadata(store(&world)).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o700));
    assert!(!store(&world).starts_with(world.state()));
    let find = |words: &[&str]| {
        let mut find = Command::new("find");
        find.arg(store(&world)).args(words);
        String::from_utf8(find.output().unwrap().stdout).unwrap()
    };
    assert!(find(&["-type", "f"]).contains("busybox"));
    assert_eq!(find(&["(", "-not", "-uid", "0", "-o", "-not", "-gid", "0", ")"]), "");
    assert_eq!(find(&["-not", "-type", "l", "-perm", "/7022"]), "");
    let layers = store(&world).join("layers");
    fs::set_permissions(&layers, fs::Permissions::from_mode(0o777)).unwrap();
    let ran = world.ctl(&["run", "--", "true"]);
    assert!(ran.code == Some(69) && ran.err.contains("sandbox-failed"), "{ran}");
    let run = closedpaw_tests::world::closedpawd();
    let uid = world.person.uid.to_string();
    let ran = Command::new("setpriv")
        .args(["--reuid", &uid, "--clear-groups"])
        .arg(run)
        .args(["image", "list"])
        .output();
    assert_eq!(ran.unwrap().status.code(), Some(77));
}

/// A byte of any part, a size, the digest of what it unpacks to.
#[test]
fn a_changed_image_is_refused() {
    let world = World::builder().stopped().build();
    let whole = example(&world, "example");
    for blob in fs::read_dir(whole.folder.join("blobs/sha256")).unwrap().flatten() {
        let good = fs::read(blob.path()).unwrap();
        for (what, bytes) in [
            ("changed", [&good[..good.len() - 1], &[good[good.len() - 1] ^ 1]].concat()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("longer", [&good[..], b"\n"].concat()),
        ] {
            fs::write(blob.path(), bytes).unwrap();
            let ran = image(&world, &["add", whole.folder.to_str().unwrap()]);
            assert!(ran.code == Some(65) && ran.err.contains("blob-digest"), "{what}: {ran}");
        }
        fs::remove_file(blob.path()).unwrap();
        let ran = image(&world, &["add", whole.folder.to_str().unwrap()]);
        assert!(ran.code == Some(65) && ran.err.contains("no-blob"), "{ran}");
        fs::write(blob.path(), good).unwrap();
    }
    let root = tiny_root(&world.work().join("other"));
    let other = Layout::new(&world.work().join("digest")).layer(&root, true).with_another_digest().finish();
    let ran = image(&world, &["add", other.folder.to_str().unwrap()]);
    assert!(ran.code == Some(65) && ran.err.contains("layer-digest"), "{ran}");
    assert_eq!((within(&world, "layers").len(), within(&world, "manifests").len()), (0, 0));
    assert_eq!(add(&world, &whole.folder, "example"), whole.digest);
}

/// Python makes any tar that it is told to.
/// The tiers of which an image was ever run in.
const TIERS: [Tier; 2] = [Tier::Gvisor, Tier::Process];

const HOSTILE: &str = r#"
import io, sys, tarfile
kind, path = sys.argv[1:]
tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)
def put(name, type=tarfile.REGTYPE, link="", content=b"x"):
    entry = tarfile.TarInfo("n")
    entry.name, entry.type, entry.linkname = name, type, link
    entry.size = len(content) if type == tarfile.REGTYPE else 0
    tar.addfile(entry, io.BytesIO(content))
if kind == "traversal": put("../../../../../../../../etc/closedpaw-hostile")
if kind == "absolute-name": put("/etc/closedpaw-hostile")
if kind == "through-link": put("l", tarfile.SYMTYPE, "/etc"); put("l/closedpaw-hostile")
if kind == "bad-hard-link": put("h", tarfile.LNKTYPE, "../../../../../../../etc/passwd")
if kind == "not-a-folder": put("a"); put("a/b")
if kind == "ratio-bound": put("zeros", content=bytes(100 << 20))
if kind == "depth-bound": put("d/" * 200 + "x")
if kind == "path-bound": put("n" * 3000)
if kind == "file-bound":
    entry = tarfile.TarInfo("large"); entry.size = 9 << 30
    tar.fileobj.write(entry.tobuf(tarfile.PAX_FORMAT)); tar.offset = 0
tar.close()
"#;

/// Row S6.
#[test]
fn a_hostile_layer_is_refused_by_name_and_leaves_nothing() {
    let world = World::builder().stopped().build();
    for kind in [
        "traversal",
        "absolute-name",
        "through-link",
        "bad-hard-link",
        "not-a-folder",
        "ratio-bound",
        "depth-bound",
        "path-bound",
        "file-bound",
    ] {
        let layer = world.work().join(format!("{kind}.tar"));
        let made = Command::new("python3").args(["-c", HOSTILE, kind]).arg(&layer).status().unwrap();
        assert!(made.success(), "{kind}");
        let hostile = Layout::new(&world.work().join(kind)).layer(&layer, true).finish();
        let ran = image(&world, &["add", hostile.folder.to_str().unwrap(), "--name", "hostile"]);
        assert!(ran.code == Some(65) && ran.err.contains(&format!("{kind}: ")), "{kind}: {ran}");
        assert!(ran.err.contains("layer 1, entry "), "{ran}");
        assert_eq!((within(&world, "layers").len(), within(&world, "manifests").len()), (0, 0), "{kind}");
        assert!(within(&world, "names").is_empty() && within(&world, "drafts").is_empty(), "{kind}");
        assert!(!Path::new("/etc/closedpaw-hostile").exists(), "{kind}");
    }
}

#[test]
fn what_is_no_image_is_told_so() {
    let world = World::builder().stopped().build();
    let empty = world.work().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::write(world.work().join("text"), "no tar").unwrap();
    let garbage = Layout::new(&world.work().join("garbage"));
    fs::write(garbage.folder.join("index.json"), "{\"manifests\": 7}").unwrap();
    for (name, code, word) in [
        ("empty", 65, "not-a-layout"),
        ("text", 65, "not-a-layout"),
        ("garbage", 65, "bad-json"),
        ("absent", 66, "No such file"),
    ] {
        let ran = image(&world, &["add", world.work().join(name).to_str().unwrap()]);
        assert!(ran.code == Some(code) && ran.err.contains(word), "{name}: {ran}");
    }
    let listed = image(&world, &["list"]);
    assert!(listed.out.contains("no images"), "{listed}");
    assert_eq!(image(&world, &["list", "--json"]).json(), Value::Array(vec![]));
}

#[test]
fn what_is_used_is_not_taken_away() {
    let (world, example) = world_on(Tier::Gvisor);
    let by_profile = image(&world, &["rm", "example"]);
    assert!(by_profile.code == Some(75) && by_profile.err.contains("profile default"), "{by_profile}");
    let mut session = tiers::open(&world, Tier::Gvisor);
    says(&world, &mut session, "true");
    fs::write(world.etc().join("profiles.d/test.toml"), tiers::profile(Tier::Gvisor)).unwrap();
    let by_sandbox = image(&world, &["rm", &example.digest]);
    let sandbox: String = session.opened.sandbox.to_string().chars().take(8).collect();
    assert!(by_sandbox.code == Some(75) && by_sandbox.err.contains(&sandbox), "{by_sandbox}");
    assert_eq!(says(&world, &mut session, "cat /etc/image-says"), "hello\n");
    drop(session);
    let gone = || (image(&world, &["rm", &example.digest]).code == Some(0)).then_some(());
    until("nothing uses it any more", gone);
    assert!(within(&world, "layers").is_empty());
    // One that comes back is another one to whoever mounted the first.
    add(&world, &example.folder, "example");
    let pinned = format!("example@{}", example.digest);
    fs::write(world.etc().join("profiles.d/test.toml"), profile(Tier::Gvisor, &pinned)).unwrap();
    let again = || (world.ctl(&["run", "--", "cat", "/etc/image-says"]).out == "hello\n").then_some(());
    until("the profile counts", again);
    world.verify_audit();
}

/// An image whose unpacking takes a while.
fn large(world: &World) -> Image {
    let folder = world.work().join("large");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a"), vec![7; 64 << 20]).unwrap();
    let first = tar(&folder);
    let more = world.work().join("more");
    fs::create_dir_all(&more).unwrap();
    fs::write(more.join("b"), vec![8; 192 << 20]).unwrap();
    Layout::new(&world.work().join("layout")).layer(&first, false).layer(&tar(&more), false).finish()
}

fn start_adding(world: &World, image: &Image) -> Child {
    let mut command = Command::new(closedpaw_tests::world::closedpawd());
    command
        .arg("--root")
        .arg(world.root())
        .args(["image", "add"])
        .arg(&image.folder)
        .args(["--name", "large"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn worker_of(adding: &Child) -> Option<u32> {
    let id = adding.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}

/// At several moments, of either process: what counts afterwards is all of it or nothing.
#[test]
fn an_add_that_is_killed_leaves_nothing_that_counts() {
    let world = World::builder().stopped().build();
    let large = large(&world);
    for point in ["1", "2"] {
        for of_worker in [true, false] {
            let mut adding = start_adding(&world, &large);
            let draft = store(&world).join("drafts").join(adding.id().to_string()).join(point);
            until("it unpacks that layer", || draft.exists().then_some(()));
            let worker = worker_of(&adding).unwrap();
            if of_worker {
                kill(worker);
                let output = adding.wait_with_output().unwrap();
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.code() == Some(70) && err.contains("worker-ended"), "{err}");
            } else {
                kill(adding.id());
                adding.wait().unwrap();
                until("its worker ends with it", || {
                    (!Path::new(&format!("/proc/{worker}")).exists()).then_some(())
                });
            }
            assert_eq!(
                (within(&world, "layers").len(), within(&world, "manifests").len()),
                (0, 0),
                "{point}"
            );
            assert!(within(&world, "names").is_empty());
        }
    }
    assert_eq!(image(&world, &["gc"]).code, Some(0));
    assert!(within(&world, "drafts").is_empty());
    assert_eq!(add(&world, &large.folder, "large"), large.digest);
    assert_eq!(within(&world, "layers").len(), 2);
}

/// Another one does not get in its way, and it has nothing that it does not need.
#[test]
fn a_worker_has_no_rights_and_nobody_else_changes_the_store_meanwhile() {
    let world = World::builder().stopped().build();
    let large = large(&world);
    let adding = start_adding(&world, &large);
    let draft = store(&world).join("drafts").join(adding.id().to_string()).join("1");
    until("it unpacks", || draft.exists().then_some(()));
    let worker = worker_of(&adding).unwrap();
    let stopped = Command::new("kill").args(["-STOP", &worker.to_string()]).status().unwrap();
    assert!(stopped.success());
    let busy = image(&world, &["gc"]);
    assert!(busy.code == Some(75) && busy.err.contains("another closedpawd image"), "{busy}");
    for (name, value) in [
        ("CapEff:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
        ("Groups:", ""),
    ] {
        assert_eq!(field(worker, name).trim(), value, "{name}");
    }
    for name in ["Uid:", "Gid:"] {
        // Behind those of all sandboxes and relays there may be.
        assert_eq!(field(worker, name).split_whitespace().collect::<Vec<_>>(), ["1900001024"; 4]);
    }
    let environment = fs::read(format!("/proc/{worker}/environ")).unwrap();
    assert!(environment.is_empty());
    let mut leads: Vec<String> = fs::read_dir(format!("/proc/{worker}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
        .collect();
    leads.retain(|leads| leads != "/dev/null" && !leads.starts_with("socket:"));
    let own = [world.work().to_owned(), store(&world).join("drafts")];
    assert!(leads.iter().all(|leads| own.iter().any(|own| Path::new(leads).starts_with(own))), "{leads:?}");
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    for (name, value) in [
        ("Max file size", "8589934592"),
        ("Max address space", "536870912"),
        ("Max cpu time", "3600"),
        ("Max open files", "64"),
        ("Max core file size", "0"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some(value), "{line}");
    }
    let go_on = Command::new("kill").args(["-CONT", &worker.to_string()]).status().unwrap();
    assert!(go_on.success());
    let output = adding.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A layer that no image has is left over; one that cannot be told is not.
#[test]
fn what_no_image_has_is_collected() {
    let world = World::builder().stopped().build();
    let example = example(&world, "example");
    add(&world, &example.folder, "example");
    let stray = store(&world).join("layers").join(format!("sha256-{}", "1".repeat(64)));
    fs::create_dir_all(stray.join("x")).unwrap();
    fs::create_dir_all(store(&world).join("drafts/7/1")).unwrap();
    assert_eq!(image(&world, &["gc"]).code, Some(0));
    assert!(!stray.exists() && within(&world, "drafts").is_empty());
    assert_eq!(within(&world, "layers").len(), 2);
    // What the timer runs does it, too.
    fs::create_dir_all(&stray).unwrap();
    world.closedpawd(&["upkeep"]);
    assert!(!stray.exists());
    let record = store(&world).join("manifests").join(example.digest.replace(':', "-"));
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, "half a rec").unwrap();
    let unsure = image(&world, &["gc"]);
    assert!(unsure.code == Some(74) && unsure.err.contains("add the image again"), "{unsure}");
    assert_eq!(within(&world, "layers").len(), 2);
    fs::write(&record, text).unwrap();
    assert_eq!(image(&world, &["gc"]).code, Some(0));
}
