//! What many sandboxes weigh, beside as many of the bare runtime's.
#![forbid(unsafe_code)]

use crate::client::{self, Session};
use crate::peers::{Bundle, must};
use crate::report::Report;
use crate::samples::Unit;
use closedpaw_protocol::message::Request;
use closedpaw_tests::world::{World, running_from, tree, until};
use std::collections::BTreeSet;
use std::fs;

const SANDBOXES: u32 = 50;

pub(crate) fn measure(world: &World, report: &mut Report) {
    let (ours, bundle) = client::run(async {
        let mut sessions = vec![];
        for _ in 0..SANDBOXES {
            let mut session = Session::open(world).await;
            session.run(&["true"]).await;
            // The agent's connection goes: one person has 64, and a session lives by its console's.
            let Session { control, seat, sandbox, .. } = session;
            sessions.push((control, seat, sandbox));
        }
        let ours = proportional(parts(world));
        let bundle = Bundle::like(world, &sessions[0].2, "many", &["/usr/bin/sleep", "1000000"]);
        for (control, seat, _) in &mut sessions {
            control.request(&Request::Close { session: seat.session }, &[]).await.unwrap();
        }
        (ours, bundle)
    });
    until("nothing runs", || parts(world).is_empty().then_some(()));
    let ids: Vec<String> = (0..SANDBOXES).map(|_| bundle.fresh()).collect();
    ids.iter().for_each(|id| must(bundle.run_detached(id)));
    let theirs = proportional(running_from(bundle.state()));
    let deletions: Vec<_> = ids.iter().map(|id| bundle.delete(id).spawn().unwrap()).collect();
    deletions.into_iter().for_each(|mut deletion| drop(deletion.wait()));
    let (ours, theirs) = (ours / f64::from(SANDBOXES), theirs / f64::from(SANDBOXES));
    report.beside("sandbox_pss", Unit::Megabytes, ours, "raw runsc", theirs, SANDBOXES as usize);
    report.note("sandbox_pss: proportional set size of each of 50 idle sandboxes, by smaps_rollup; ours with its relay and closedpaw-init, the peer's with sleep");
}

/// The processes of all sandboxes: the runtime's and the relays.
fn parts(world: &World) -> Vec<u32> {
    let lines = world.command_lines().into_iter();
    let part = |words: &[String]| {
        words.iter().any(|word| word == "boot" || word == "gofer" || word.ends_with("closedpaw-relay"))
    };
    lines.filter(|(_, words)| part(words)).map(|(id, _)| id).collect()
}

/// What processes and all below them take of memory, in megabytes: `Pss` of proc_pid_smaps(5), in which a page that several
/// share counts as a part for each.
fn proportional(roots: Vec<u32>) -> f64 {
    let all: BTreeSet<u32> = roots.into_iter().flat_map(tree).collect();
    let kibibytes = |id: &u32| -> f64 {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    all.iter().map(kibibytes).sum::<f64>() / 1024.0
}
