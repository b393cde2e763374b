//! Memory of what waits: the daemon, a relay, an init.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::report::Report;
use crate::samples::Unit;
use closedpaw_protocol::message::Request;
use closedpaw_tests::world::World;
use std::fs;

pub(crate) fn measure(world: &World, report: &mut Report) {
    client::run(async {
        let mut control = client::connect(world, world.person.key()).await;
        control.request(&Request::Questions, &[]).await.unwrap();
        drop(control);
        let daemon: Vec<f64> = named(world, "closedpawd").map(resident).collect();
        report.value("idle_daemon_rss", Unit::Megabytes, daemon.iter().sum(), daemon.len());
        let mut session = Session::open(world).await;
        session.run(&["true"]).await;
        let relays: Vec<f64> = named(world, "closedpaw-relay").map(resident).collect();
        assert_eq!(relays.len(), 1, "one sandbox, one relay");
        report.value("idle_relay_rss", Unit::Megabytes, relays.iter().sum(), 1);
        let status = session.run(&["cat", "/proc/1/status"]).await;
        report.value("idle_init_rss", Unit::Megabytes, vm_rss(&String::from_utf8_lossy(&status)), 1);
        drop(session.control.request(&Request::Close { session: session.seat.session }, &[]).await);
    });
    report.note("idle_daemon_rss: VmRSS of launcher and judge added up after one request, pages they share counted twice");
    report.note("idle_init_rss: VmRSS as gVisor's own /proc/1/status in the sandbox reports it");
}

/// The daemon's processes of that name, itself among them.
fn named(world: &World, name: &str) -> impl Iterator<Item = u32> {
    let mut all = world.processes();
    all.push(world.daemon_pid());
    all.sort_unstable();
    all.dedup();
    let named =
        |id: &u32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
    all.into_iter().filter(named).collect::<Vec<_>>().into_iter()
}

fn resident(id: u32) -> f64 {
    vm_rss(&fs::read_to_string(format!("/proc/{id}/status")).unwrap())
}

/// `VmRSS` in megabytes (proc_pid_status(5) writes kibibytes).
fn vm_rss(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes / 1024.0
}
