//! Devices of the host: there because the profile names them and the machine has them, else not there and not started.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use closedpaw_protocol::Tier;
use closedpaw_protocol::message::{Reply, Request};
use closedpaw_protocol::relay::Gate;
use closedpaw_tests::raw::Session;
use closedpaw_tests::tiers;
use closedpaw_tests::world::{Ran, World};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The shipped profile for a tier, with devices.
fn profile(tier: Tier, devices: &str) -> String {
    let named = format!("isolation = \"{}\"", tier.name());
    tiers::profile(tier).replace(&named, &format!("{named}\ndevices = [\"{devices}\"]"))
}

fn has(device: &str) -> bool {
    Path::new(device).metadata().is_ok_and(|found| found.file_type().is_char_device())
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(69), "{ran}");
    assert!(words.iter().all(|word| ran.err.contains(word)), "{ran}");
    assert_eq!(ran.out, "", "nothing ran: {ran}");
}

/// What `doctor` says of a device.
fn doctor(world: &World) -> serde_json::Value {
    let all = world.ctl(&["doctor", "--json"]).json();
    all.as_array().unwrap().iter().find(|one| one["what"] == "device").cloned().unwrap()
}

#[test]
fn a_gpu_that_is_not_here_is_refused_with_what_it_lacks() {
    let world = World::builder().profiles(&profile(Tier::Gvisor, "nvidia")).build();
    assert!(!has("/dev/nvidiactl"), "this test is for machines without one");
    refused(
        &world.ctl(&["run", "--", "true"]),
        &["device-missing", "nvidia", "no /dev/nvidiactl", "nvidia-modprobe"],
    );
    assert_eq!(world.sandbox_process(), None);
    let device = doctor(&world);
    assert_eq!((&device["good"], &device["needed"]), (&false.into(), &false.into()));
    assert!(device["text"].as_str().unwrap().starts_with("nvidia: there is no /dev/nvidiactl"), "{device}");
    world.verify_audit();
}

/// With the hardware it is there, the start gate holds, and whoever asks is told; without, nothing starts.
#[test]
fn kvm_is_there_where_the_machine_has_it_and_refused_where_not() {
    let world = tiers::builder(Tier::Process).profiles(&profile(Tier::Process, "/dev/kvm")).build();
    if !has("/dev/kvm") {
        refused(
            &world.ctl(&["run", "--isolation", "process", "--", "true"]),
            &["device-missing", "no /dev/kvm", "kvm_intel"],
        );
        return world.verify_audit();
    }
    let mut session: Session = tiers::open(&world, Tier::Process);
    let script = "stat -c %t:%T /dev/kvm; ls /dev | grep -c kvm";
    let (out, err, _) = session.approved(&world.person, &["sh", "-c", script]).finish();
    // devices.txt of the kernel: 10:232.
    assert_eq!(String::from_utf8_lossy(&out), "a:e8\n1\n", "{}", String::from_utf8_lossy(&err));
    let Ok(Reply::Sandboxes(sandboxes)) = world.raw().request(&world.person.key(), &Request::Sandboxes, &[])
    else {
        panic!("no list")
    };
    assert_eq!(sandboxes[0].devices, ["/dev/kvm"]);
    assert_eq!(sandboxes[0].found, Some(Gate::all() & !Gate::GVISOR));
    assert_eq!(doctor(&world)["text"], "/dev/kvm: /dev/kvm");
    let shown = world.ctl(&["sandbox", "inspect", &session.opened.sandbox.to_string()]);
    assert!(shown.out.contains("devices of the host: /dev/kvm"), "{shown}");
    // And which limits this host cannot keep any sandbox to, as `status` says.
    let shown = world.ctl(&["sandbox", "inspect", &session.opened.sandbox.to_string(), "--json"]).json();
    assert_eq!(shown["unlimited"], serde_json::json!(world.status().missing));
    drop(session);
    world.verify_audit();
}

/// The same machine and tier, and a profile that does not name it.
#[test]
fn what_no_profile_names_is_not_there() {
    let world = tiers::world(Tier::Process);
    let mut session = tiers::open(&world, Tier::Process);
    let (out, ..) = session.approved(&world.person, &["ls", "/dev"]).finish();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("null") && !out.contains("kvm") && !out.contains("nvidia"), "{out}");
    drop(session);
    world.verify_audit();
}
